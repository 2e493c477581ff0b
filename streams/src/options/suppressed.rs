use millstream_topology::Windowed;

/// How `suppress` bounds its buffer, and what it does when that is full.
///
/// ```
/// # use millstream::*;
/// let buffer: BufferConfig = EagerBufferConfig::max_bytes(1 << 20).into();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    pub(crate) max_records: u64,
    pub(crate) max_bytes: u64,
    pub(crate) emit_early: bool,
    pub(crate) logging: bool,
}

/// A buffer that never lets go early: what results need that are final.
///
/// ```
/// let _bounded = millstream::StrictBufferConfig::unbounded().with_max_bytes(1 << 30).shut_down_when_full();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrictBufferConfig(BufferConfig);

/// A buffer that emits what has waited longest when it is full.
///
/// ```
/// # use millstream::*;
/// let small = EagerBufferConfig::max_records(1_000).with_max_bytes(1 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EagerBufferConfig(BufferConfig);

impl StrictBufferConfig {
    /// As large as memory allows.
    ///
    /// ```
    /// # use millstream::*;
    /// let all = StrictBufferConfig::unbounded();
    /// ```
    pub fn unbounded() -> Self {
        Self(BufferConfig { max_records: u64::MAX, max_bytes: u64::MAX, emit_early: false, logging: true })
    }
}

impl EagerBufferConfig {
    /// At most so many rows.
    ///
    /// ```
    /// # use millstream::*;
    /// let small = EagerBufferConfig::max_records(1_000);
    /// ```
    pub fn max_records(max_records: u64) -> Self {
        Self(BufferConfig { max_records, max_bytes: u64::MAX, emit_early: true, logging: true })
    }

    /// At most so many bytes, as [`SuppressBuffer`](millstream_topology::store::SuppressBuffer) counts them.
    ///
    /// ```
    /// # use millstream::*;
    /// let small = EagerBufferConfig::max_bytes(1 << 20);
    /// ```
    pub fn max_bytes(max_bytes: u64) -> Self {
        Self(BufferConfig { max_records: u64::MAX, max_bytes, emit_early: true, logging: true })
    }
}

macro_rules! buffer_config {
    ($($config:ident),+) => { $(
        impl $config {
            /// At most so many rows.
            ///
            /// ```
            /// # use millstream::*;
            /// let small = StrictBufferConfig::unbounded().with_max_records(1_000);
            /// ```
            pub fn with_max_records(self, max_records: u64) -> Self {
                Self(BufferConfig { max_records, ..self.0 })
            }

            /// At most so many bytes.
            ///
            /// ```
            /// # use millstream::*;
            /// let small = StrictBufferConfig::unbounded().with_max_bytes(1 << 20);
            /// ```
            pub fn with_max_bytes(self, max_bytes: u64) -> Self {
                Self(BufferConfig { max_bytes, ..self.0 })
            }

            /// As large as memory allows.
            ///
            /// ```
            /// # use millstream::*;
            /// let all = EagerBufferConfig::max_records(1_000).with_no_bound();
            /// assert_eq!(all, StrictBufferConfig::unbounded());
            /// ```
            pub fn with_no_bound(self) -> StrictBufferConfig {
                StrictBufferConfig(BufferConfig { max_records: u64::MAX, max_bytes: u64::MAX, emit_early: false, ..self.0 })
            }

            /// The task fails when the buffer is full.
            ///
            /// ```
            /// # use millstream::*;
            /// let strict = EagerBufferConfig::max_records(1_000).shut_down_when_full();
            /// ```
            pub fn shut_down_when_full(self) -> StrictBufferConfig {
                StrictBufferConfig(BufferConfig { emit_early: false, ..self.0 })
            }

            /// What has waited longest goes on when the buffer is full.
            ///
            /// ```
            /// # use millstream::*;
            /// let eager = StrictBufferConfig::unbounded().with_max_records(1_000).emit_early_when_full();
            /// ```
            pub fn emit_early_when_full(self) -> EagerBufferConfig {
                EagerBufferConfig(BufferConfig { emit_early: true, ..self.0 })
            }

            /// Whether what waits is written to a changelog topic, so that it is there after a restart. Default: yes.
            ///
            /// ```
            /// # use millstream::*;
            /// let forgetful = EagerBufferConfig::max_records(1_000).logging(false);
            /// ```
            pub fn logging(self, logging: bool) -> Self {
                Self(BufferConfig { logging, ..self.0 })
            }
        }

        impl From<$config> for BufferConfig {
            fn from(config: $config) -> Self {
                config.0
            }
        }
    )+ };
}
buffer_config!(StrictBufferConfig, EagerBufferConfig);

/// Which updates of a table `suppress` holds back, and for how long.
///
/// ```
/// use millstream::{EagerBufferConfig, StrictBufferConfig, Suppressed, Windowed};
/// let _rate_limit = Suppressed::<String>::until_time_limit(60_000, EagerBufferConfig::max_records(10_000));
/// let _final_results = Suppressed::<Windowed<String>>::until_window_closes(StrictBufferConfig::unbounded());
/// ```
pub struct Suppressed<K> {
    pub(crate) name: Option<String>,
    /// How long an update waits, in milliseconds; `None`: for the window's grace.
    pub(crate) wait_ms: Option<i64>,
    /// The time from which on it waits, where that is not the record's.
    pub(crate) time_of: Option<fn(&K) -> i64>,
    pub(crate) buffer: BufferConfig,
}

impl<K> Suppressed<K> {
    /// Updates of a row wait until stream time has moved on by `wait_ms` since the first of them; the last one then goes on.
    ///
    /// ```
    /// # use millstream::*;
    /// let every_minute = Suppressed::<String>::until_time_limit(60_000, StrictBufferConfig::unbounded());
    /// ```
    pub fn until_time_limit(wait_ms: i64, buffer: impl Into<BufferConfig>) -> Self {
        Self { name: None, wait_ms: Some(wait_ms), time_of: None, buffer: buffer.into() }
    }

    /// Names the node; its store is `<name>-store`.
    ///
    /// ```
    /// # use millstream::*;
    /// let named = Suppressed::<String>::until_time_limit(60_000, StrictBufferConfig::unbounded()).name("slow");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }
}

impl<K> Suppressed<Windowed<K>> {
    /// Updates of a window wait until it has closed; the final result then goes on. Deletions never do.
    ///
    /// ```
    /// # use millstream::*;
    /// let final_results = Suppressed::<Windowed<String>>::until_window_closes(StrictBufferConfig::unbounded());
    /// ```
    pub fn until_window_closes(buffer: StrictBufferConfig) -> Self {
        Self { name: None, wait_ms: None, time_of: Some(|key| key.window.end), buffer: buffer.into() }
    }
}
