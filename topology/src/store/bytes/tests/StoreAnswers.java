package org.apache.kafka.streams.state.internals;

import java.io.*;
import java.time.Instant;
import java.util.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.internals.SessionWindow;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.api.*;
import org.apache.kafka.streams.query.*;
import org.apache.kafka.streams.state.*;

/** Reads scripts of store operations, one script after another, and writes each operation with what Kafka Streams answers. */
public class StoreAnswers {
    static final int BATCH = 40;

    public static void main(final String[] args) throws Exception {
        final List<List<String>> scripts = new ArrayList<>();
        try (BufferedReader in = new BufferedReader(new FileReader(args[0]))) {
            for (String line; (line = in.readLine()) != null; ) {
                if (line.startsWith("store ")) scripts.add(new ArrayList<>());
                scripts.get(scripts.size() - 1).add(line.split(" \\|")[0]);
            }
        }
        try (PrintWriter out = new PrintWriter(new BufferedWriter(new FileWriter(args[1])))) {
            for (int at = 0; at < scripts.size(); at += BATCH) {
                run(scripts.subList(at, Math.min(scripts.size(), at + BATCH)), out);
            }
        }
        System.exit(0);
    }

    static void run(final List<List<String>> scripts, final PrintWriter out) throws Exception {
        final Topology topology = new Topology();
        topology.addSource("in", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), "in");
        topology.addProcessor("run", () -> new Processor<byte[], byte[], byte[], byte[]>() {
            ProcessorContext<byte[], byte[]> context;
            public void init(final ProcessorContext<byte[], byte[]> context) { this.context = context; }
            public void process(final org.apache.kafka.streams.processor.api.Record<byte[], byte[]> record) {
                for (int i = 0; i < scripts.size(); i++) {
                    final StateStore store = context.getStateStore("s" + i);
                    final List<String> script = scripts.get(i);
                    out.println(script.get(0));
                    for (final String op : script.subList(1, script.size())) {
                        final double before = dropped();
                        String answer;
                        try { answer = answer(store, script.get(0).split(" "), op.split(" ")); }
                        catch (final RuntimeException e) { answer = "!" + e.getClass().getSimpleName(); }
                        if (dropped() > before) answer = "dropped " + answer;
                        out.println(op + " |" + answer.trim());
                    }
                }
            }
            double dropped() {
                double sum = 0;
                for (final var metric : context.metrics().metrics().values()) {
                    if (metric.metricName().name().equals("dropped-records-total")) sum += (Double) metric.metricValue();
                }
                return sum;
            }
        }, "in");
        for (int i = 0; i < scripts.size(); i++) topology.addStateStore(builder("s" + i, scripts.get(i).get(0).split(" ")), "run");
        final Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, "answers");
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
        config.put(StreamsConfig.STATE_DIR_CONFIG, java.nio.file.Files.createTempDirectory("answers").toString());
        try (TopologyTestDriver driver = new TopologyTestDriver(topology, config)) {
            driver.createInputTopic("in", new ByteArraySerializer(), new ByteArraySerializer()).pipeInput(new byte[0], new byte[0]);
        }
    }

    @SuppressWarnings({"rawtypes", "unchecked"})
    static StoreBuilder builder(final String name, final String[] head) {
        final Serde<Bytes> key = Serdes.Bytes();
        final Serde<byte[]> value = Serdes.ByteArray();
        final long retention = Long.parseLong(head[2]);
        final long interval = Long.parseLong(head[3]);
        final boolean duplicates = head[4].equals("duplicates");
        final StoreBuilder builder;
        switch (head[1]) {
            case "key-value-memory": builder = Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(name), key, value); break;
            case "key-value-disk": builder = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), key, value); break;
            case "lru": builder = Stores.keyValueStoreBuilder(Stores.lruMap(name, (int) retention), key, value); break;
            case "window-memory":
                builder = Stores.windowStoreBuilder(new InMemoryWindowBytesStoreSupplier(name, retention, 1, duplicates), key, value); break;
            case "window-disk":
                builder = Stores.windowStoreBuilder(new RocksDbWindowBytesStoreSupplier(name, retention, interval, 1, duplicates,
                    RocksDbWindowBytesStoreSupplier.WindowStoreTypes.DEFAULT_WINDOW_STORE), key, value); break;
            case "window-time": case "window-time-indexed":
                builder = Stores.windowStoreBuilder(new RocksDbIndexedTimeOrderedWindowBytesStoreSupplier(name, retention, interval, 1, duplicates,
                    head[1].endsWith("indexed"), false), key, value); break;
            case "session-memory": builder = Stores.sessionStoreBuilder(new InMemorySessionBytesStoreSupplier(name, retention), key, value); break;
            case "session-disk": case "session-time-indexed":
                builder = Stores.sessionStoreBuilder(new SessionBytesStoreSupplier() {
                    public long segmentIntervalMs() { return interval; }
                    public long retentionPeriod() { return retention; }
                    public String name() { return name; }
                    public String metricsScope() { return "rocksdb-session"; }
                    public SessionStore<Bytes, byte[]> get() {
                        return head[1].equals("session-disk")
                            ? new RocksDBSessionStore(new RocksDBSegmentedBytesStore(name, metricsScope(), retention, interval, new SessionKeySchema()))
                            : new RocksDBTimeOrderedSessionStore(new RocksDBTimeOrderedSessionSegmentedBytesStore<>(name, retention, true,
                                new KeyValueSegments(name, metricsScope(), retention, interval)));
                    }
                }, key, value);
                break;
            case "versioned":
                builder = Stores.versionedKeyValueStoreBuilder(new RocksDbVersionedKeyValueBytesStoreSupplier(name, retention, interval), key, value); break;
            default: throw new IllegalArgumentException(head[1]);
        }
        return builder.withLoggingDisabled();
    }

    @SuppressWarnings("unchecked")
    static String answer(final StateStore store, final String[] head, final String[] op) {
        final StringBuilder out = new StringBuilder();
        if (head[1].startsWith("key-value") || head[1].equals("lru")) {
            final KeyValueStore<Bytes, byte[]> s = (KeyValueStore<Bytes, byte[]>) store;
            switch (op[0]) {
                case "put": s.put(key(op[1]), value(op[2])); return "";
                case "absent": return show(s.putIfAbsent(key(op[1]), value(op[2])));
                case "delete": return show(s.delete(key(op[1])));
                case "get": return show(s.get(key(op[1])));
                case "count": return "" + s.approximateNumEntries();
                case "range": return rows(op[3].equals("up") ? s.range(key(op[1]), key(op[2])) : s.reverseRange(key(op[1]), key(op[2])));
                case "all": return rows(op[1].equals("up") ? s.all() : s.reverseAll());
                case "prefix": return rows(s.prefixScan(key(op[1]), new BytesSerializer()));
            }
        } else if (head[1].startsWith("window")) {
            final WindowStore<Bytes, byte[]> s = (WindowStore<Bytes, byte[]>) store;
            switch (op[0]) {
                case "put": s.put(key(op[1]), value(op[2]), time(op[3])); return "";
                case "fetch": return show(s.fetch(key(op[1]), time(op[2])));
                case "key":
                    try (WindowStoreIterator<byte[]> rows = op[4].equals("up") ? s.fetch(key(op[1]), time(op[2]), time(op[3])) : s.backwardFetch(key(op[1]), time(op[2]), time(op[3]))) {
                        while (rows.hasNext()) {
                            final KeyValue<Long, byte[]> row = rows.next();
                            out.append(op[1]).append('@').append(row.key).append('=').append(show(row.value)).append(' ');
                        }
                    }
                    return out.toString();
                case "keys": return windows(op[5].equals("up") ? s.fetch(key(op[1]), key(op[2]), time(op[3]), time(op[4])) : s.backwardFetch(key(op[1]), key(op[2]), time(op[3]), time(op[4])));
                case "times": return windows(op[3].equals("up") ? s.fetchAll(time(op[1]), time(op[2])) : s.backwardFetchAll(time(op[1]), time(op[2])));
                case "all": return windows(op[1].equals("up") ? s.all() : s.backwardAll());
            }
        } else if (head[1].startsWith("session")) {
            final SessionStore<Bytes, byte[]> s = (SessionStore<Bytes, byte[]>) store;
            switch (op[0]) {
                case "put": s.put(session(op), value(op[4])); return "";
                case "remove": s.remove(session(op)); return "";
                case "fetch": return show(s.fetchSession(key(op[1]), time(op[2]), time(op[3])));
                case "key": return sessions(op[4].equals("up") ? s.findSessions(key(op[1]), time(op[2]), time(op[3])) : s.backwardFindSessions(key(op[1]), time(op[2]), time(op[3])));
                case "keys": return sessions(op[5].equals("up") ? s.findSessions(key(op[1]), key(op[2]), time(op[3]), time(op[4])) : s.backwardFindSessions(key(op[1]), key(op[2]), time(op[3]), time(op[4])));
                case "ends": return sessions(s.findSessions(time(op[1]), time(op[2])));
            }
        } else {
            final VersionedKeyValueStore<Bytes, byte[]> s = (VersionedKeyValueStore<Bytes, byte[]>) store;
            switch (op[0]) {
                case "put": return "" + s.put(key(op[1]), value(op[2]), time(op[3]));
                case "delete": return show(s.delete(key(op[1]), time(op[2])));
                case "get": return show(s.get(key(op[1])));
                case "at": return show(s.get(key(op[1]), time(op[2])));
                case "range":
                    MultiVersionedKeyQuery<Bytes, byte[]> query = MultiVersionedKeyQuery.<Bytes, byte[]>withKey(key(op[1]))
                        .fromTime(Instant.ofEpochMilli(time(op[2]))).toTime(Instant.ofEpochMilli(time(op[3])));
                    query = op[4].equals("up") ? query.withAscendingTimestamps() : query.withDescendingTimestamps();
                    try (VersionedRecordIterator<byte[]> rows = store.query(query, PositionBound.unbounded(), new QueryConfig(false)).getResult()) {
                        while (rows.hasNext()) {
                            final VersionedRecord<byte[]> row = rows.next();
                            out.append(show(row)).append("..").append(row.validTo().map(Object::toString).orElse("")).append(' ');
                        }
                    }
                    return out.toString();
            }
        }
        throw new IllegalArgumentException(String.join(" ", op));
    }

    static long time(final String text) { return Long.parseLong(text); }
    static Windowed<Bytes> session(final String[] op) { return new Windowed<>(key(op[1]), new SessionWindow(time(op[2]), time(op[3]))); }
    static Bytes key(final String text) { return Bytes.wrap(value(text)); }
    static byte[] value(final String text) { return text.startsWith("x") ? HexFormat.of().parseHex(text.substring(1)) : null; }
    static String show(final byte[] bytes) { return bytes == null ? "-" : "x" + HexFormat.of().formatHex(bytes); }
    static String show(final VersionedRecord<byte[]> row) { return row == null ? "-" : show(row.value()) + "@" + row.timestamp(); }
    static String rows(final KeyValueIterator<Bytes, byte[]> rows) {
        final StringBuilder out = new StringBuilder();
        try (rows) { while (rows.hasNext()) { final var row = rows.next(); out.append(show(row.key.get())).append('=').append(show(row.value)).append(' '); } }
        return out.toString();
    }
    static String windows(final KeyValueIterator<Windowed<Bytes>, byte[]> rows) {
        final StringBuilder out = new StringBuilder();
        try (rows) { while (rows.hasNext()) { final var row = rows.next(); out.append(show(row.key.key().get())).append('@').append(row.key.window().start()).append('=').append(show(row.value)).append(' '); } }
        return out.toString();
    }
    static String sessions(final KeyValueIterator<Windowed<Bytes>, byte[]> rows) {
        final StringBuilder out = new StringBuilder();
        try (rows) { while (rows.hasNext()) { final var row = rows.next(); out.append(show(row.key.key().get())).append('@').append(row.key.window().start()).append('/').append(row.key.window().end()).append('=').append(show(row.value)).append(' '); } }
        return out.toString();
    }
}
