//! Writing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig},
    types::RDKafkaErrorCode as Code,
};

use super::{
    Cluster, context,
    errors::{at, from_code, from_kafka},
    offsets::list_of,
};
use crate::{Acknowledge, Error, GroupMetadata, Offsets, ProduceBatch, Producer, ProducerOptions, Record};

/// How long a record may take to be written.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the thread that hands out reports listens at a time. The binding spins through the last millisecond of each.
const LISTENING: Duration = Duration::from_secs(2);
/// How long a send waits for room in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// **Law.** A batch is acknowledged once, when the last of its records is.
pub(crate) struct KafkaProducer {
    client: Arc<BaseProducer<Reports>>,
    transactional: bool,
    limit: usize,
    /// What batches without an acknowledgement share.
    unnoticed: Arc<Batch>,
}

/// What became of what was sent.
#[derive(Default)]
struct Reports {
    outstanding: AtomicUsize,
    first_error: Mutex<Option<Error>>,
    idle: Condvar,
}

/// A batch on its way.
#[derive(Default)]
struct Batch {
    left: AtomicUsize,
    /// The lowest offset so far.
    base: AtomicI64,
    fate: Mutex<(Option<Acknowledge>, Option<Error>)>,
}

impl Batch {
    /// So many records of it are through, or lost.
    fn settle(&self, records: usize, result: Result<i64, Error>) {
        match result {
            Ok(offset) => drop(self.base.fetch_min(offset, Ordering::Relaxed)),
            Err(error) => drop(self.fate.lock().1.get_or_insert(error)),
        }
        if self.left.fetch_sub(records, Ordering::AcqRel) == records {
            let (acknowledge, error) = std::mem::take(&mut *self.fate.lock());
            if let Some(acknowledge) = acknowledge {
                acknowledge(error.map_or_else(|| Ok(self.base.load(Ordering::Relaxed)), Err));
            }
        }
    }
}

impl Reports {
    fn settle(&self, records: usize) {
        if self.outstanding.fetch_sub(records, Ordering::AcqRel) == records {
            // Under the lock, so that a flush that has just looked is already waiting.
            let _flush = self.first_error.lock();
            self.idle.notify_all();
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::log_error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        let result = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, message)) => Err(at(from_kafka(error, message.topic()), "send")),
        };
        if let Err(error) = &result {
            self.first_error.lock().get_or_insert(error.clone());
        }
        batch.settle(1, result);
        self.settle(1);
    }
}

impl KafkaProducer {
    pub fn new(cluster: &Cluster, options: &ProducerOptions) -> Result<Self, Error> {
        // librdkafka wants no record to outlive its transaction.
        let delivery_timeout = options.transaction_timeout.map_or(DELIVERY_TIMEOUT, |timeout| timeout.min(DELIVERY_TIMEOUT));
        let mut settings = vec![
            ("linger.ms", (options.linger.as_micros() as f64 / 1e3).to_string()),
            ("delivery.timeout.ms", delivery_timeout.as_millis().to_string()),
            ("queue.buffering.max.kbytes", "262144".to_owned()),
        ];
        match &options.transactional_id {
            Some(id) => {
                settings.push(("transactional.id", id.clone()));
                if let Some(timeout) = options.transaction_timeout {
                    settings.push(("transaction.timeout.ms", timeout.as_millis().to_string()));
                }
            }
            // One request under way keeps the order, and what comes meanwhile goes with the next one. An idempotent producer would keep
            // it as well, but librdkafka's spins while a partition has more to send and five records or more are under way.
            None => settings.push(("max.in.flight.requests.per.connection", "1".to_owned())),
        }
        let client: BaseProducer<Reports> =
            cluster.config(&settings).create_with_context(Reports::default()).map_err(|e| from_kafka(&e, ""))?;
        let client = Arc::new(client);
        let listened = Arc::downgrade(&client);
        let listen = move || {
            while let Some(client) = listened.upgrade() {
                client.poll(LISTENING);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-reports".into()).spawn(listen);
        thread.map_err(|e| Error::Other(format!("no thread for a producer: {e}")))?;
        let unnoticed = Arc::new(Batch { left: AtomicUsize::new(usize::MAX), ..Batch::default() });
        let transactional = options.transactional_id.is_some();
        Ok(Self { client, transactional, limit: cluster.options.max_message_bytes, unnoticed })
    }

    fn reports(&self) -> &Reports {
        self.client.context()
    }

    fn in_transaction<T>(&self, call: impl FnOnce() -> Result<T, KafkaError>, what: &'static str) -> Result<T, Error> {
        if !self.transactional {
            return Err(Error::State("the producer has no transactional id: make one with an id".into()));
        }
        call().map_err(|e| at(self.error(&e, ""), what))
    }

    /// What an error means; where librdkafka only says that it was fatal, the error that was.
    fn error(&self, error: &KafkaError, topic: &str) -> Error {
        match (from_kafka(error, topic), self.client.client().fatal_error()) {
            (Error::Broken(_), Some((code, text))) => match from_code(code, topic) {
                Error::Fenced(_) => Error::Fenced(text),
                _ => Error::Broken(text),
            },
            (error, _) => error,
        }
    }

    fn queue(&self, batch: &ProduceBatch, record: &Record, opaque: &Arc<Batch>) -> Result<(), Error> {
        let until = Instant::now() + QUEUE_WAIT;
        let mut message = BaseRecord::<[u8], [u8], _>::with_opaque_to(&batch.to.topic, opaque.clone());
        message.partition = Some(batch.to.partition);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.timestamp = Some(record.timestamp);
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let header = |all: OwnedHeaders, h: &crate::Header| all.insert(Header { key: &h.name, value: h.value.as_deref() });
            message.headers = Some(record.headers.iter().fold(headers, header));
        }
        loop {
            match self.client.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), refused)) if Instant::now() < until => {
                    message = refused;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(self.error(&error, &batch.to.topic)),
            }
        }
    }

    fn forget_errors(&self) {
        *self.reports().first_error.lock() = None;
    }
}

impl Drop for KafkaProducer {
    /// What is not sent yet is lost; its fate is still told.
    fn drop(&mut self) {
        self.client.purge(PurgeConfig::default().queue().inflight());
    }
}

impl Producer for KafkaProducer {
    fn send(&self, batch: ProduceBatch, acknowledge: Option<Acknowledge>) -> Result<(), Error> {
        let total = batch.records.len();
        if total == 0 {
            return Err(Error::State("the batch has no records: send at least one".into()));
        }
        for record in &batch.records {
            let size = record.size();
            if size > self.limit {
                return Err(Error::TooLarge { size, limit: self.limit });
            }
        }
        let noticed = acknowledge.is_some();
        let opaque = match acknowledge {
            Some(_) => {
                Arc::new(Batch { left: AtomicUsize::new(total), base: AtomicI64::new(i64::MAX), fate: Mutex::new((acknowledge, None)) })
            }
            None => self.unnoticed.clone(),
        };
        self.reports().outstanding.fetch_add(total, Ordering::AcqRel);
        for (queued, record) in batch.records.iter().enumerate() {
            let Err(error) = self.queue(&batch, record, &opaque) else { continue };
            let lost = total - queued;
            self.reports().settle(lost);
            if queued == 0 {
                opaque.fate.lock().0 = None;
                return Err(error);
            }
            // Some are on their way: the batch as a whole has failed, and it is said where its fate is said.
            self.reports().first_error.lock().get_or_insert(error.clone());
            if noticed {
                opaque.settle(lost, Err(error));
            }
            return Ok(());
        }
        Ok(())
    }

    /// Waits by itself: librdkafka's own flush, as it is bound, takes 100 ms whenever something is on its way.
    fn flush(&self, deadline: Duration) -> Result<(), Error> {
        let until = Instant::now() + deadline;
        let reports = self.reports();
        let mut first_error = reports.first_error.lock();
        while reports.outstanding.load(Ordering::Acquire) > 0 {
            if reports.idle.wait_until(&mut first_error, until).timed_out() {
                return Err(Error::Timeout("flush"));
            }
        }
        first_error.take().map_or(Ok(()), Err)
    }

    fn init_transactions(&self, deadline: Duration) -> Result<(), Error> {
        self.in_transaction(|| self.client.init_transactions(deadline), "init transactions")
    }

    fn begin_transaction(&self) -> Result<(), Error> {
        self.in_transaction(|| self.client.begin_transaction(), "begin transaction")?;
        self.forget_errors();
        Ok(())
    }

    fn send_offsets(&self, offsets: &Offsets, group: &GroupMetadata, deadline: Duration) -> Result<(), Error> {
        let foreign = || Error::State("the member belongs to a consumer of another broker: use one of this cluster".into());
        let member = group.kafka.as_ref().ok_or_else(foreign)?;
        let list = list_of(offsets)?;
        self.in_transaction(|| self.client.send_offsets_to_transaction(&list, &member.0, deadline), "send offsets")
    }

    fn commit_transaction(&self, deadline: Duration) -> Result<(), Error> {
        let until = Instant::now() + deadline;
        self.flush(deadline)?;
        // The report that ended the flush is still being handed out: a moment later librdkafka has nothing to flush, and does not wait.
        let settled = Instant::now() + Duration::from_millis(5);
        while self.client.in_flight_count() > 0 && Instant::now() < settled {
            std::thread::yield_now();
        }
        let left = until.saturating_duration_since(Instant::now());
        self.in_transaction(|| self.client.commit_transaction(left), "commit transaction")
    }

    fn abort_transaction(&self, deadline: Duration) -> Result<(), Error> {
        self.in_transaction(|| self.client.abort_transaction(deadline), "abort transaction")?;
        // What was dropped on purpose is no news for the next transaction.
        let dropped = self.flush(deadline);
        if matches!(dropped, Err(Error::Timeout(_))) { dropped } else { Ok(()) }
    }
}
