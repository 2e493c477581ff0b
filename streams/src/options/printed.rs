//! Where and how a stream is printed.

use std::{fmt::Display, io::Write, path::PathBuf, sync::Arc};

use millstream_topology::Data;

/// Where and how [`KStream::print`](crate::KStream::print) prints: `[label]: key, value`, a line per record.
///
/// **Law.** A null is printed as `null`. The label is the stream's name unless one is given.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("millstream-printed-{}", std::process::id()));
/// # let path = path.to_str().unwrap();
/// use millstream::{Printed, StreamsBuilder, TopologyTestDriver};
///
/// let builder = StreamsBuilder::new();
/// let orders = builder.stream::<String, Option<i64>>("orders");
/// orders.print(Printed::to_file(path).label("orders"));
/// orders.print(Printed::to_sys_out_with(|id, amount| format!("{id} of {amount:?}")));
///
/// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// let orders = driver.input_topic::<String, Option<i64>>("orders");
/// orders.pipe("a".into(), Some(1), 0)?;
/// orders.pipe("b".into(), None, 0)?;
/// assert_eq!(std::fs::read_to_string(path).unwrap(), "[orders]: a, 1\n[orders]: b, null\n");
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), millstream::Error>(())
/// ```
pub struct Printed<K: Data, V: Data> {
    pub(crate) to: PrintTo,
    pub(crate) name: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) mapper: Arc<dyn Fn(&K, &V) -> String + Send + Sync>,
}

pub(crate) enum PrintTo {
    SysOut,
    File(PathBuf),
    Writer(Box<dyn Write + Send>),
}

impl<K: Data, V: Data> Printed<K, V>
where
    K::Present: Display,
    V::Present: Display,
{
    /// To standard output.
    pub fn to_sys_out() -> Self {
        Self::to_sys_out_with(key_and_value)
    }

    /// To a file, which the call of `print` empties.
    pub fn to_file(path: impl Into<PathBuf>) -> Self {
        Self::to_file_with(path, key_and_value)
    }

    /// To anything else that can be written to.
    pub fn to_writer(writer: impl Write + Send + 'static) -> Self {
        Self::to(PrintTo::Writer(Box::new(writer)), key_and_value)
    }
}

impl<K: Data, V: Data> Printed<K, V> {
    /// To standard output, as `mapper` says: for types that have no text of their own.
    pub fn to_sys_out_with(mapper: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        Self::to(PrintTo::SysOut, mapper)
    }

    /// To a file, as `mapper` says.
    pub fn to_file_with(path: impl Into<PathBuf>, mapper: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        Self::to(PrintTo::File(path.into()), mapper)
    }

    fn to(to: PrintTo, mapper: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        Self { to, name: None, label: None, mapper: Arc::new(mapper) }
    }

    /// What stands in brackets before each record.
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// What stands after the label.
    pub fn key_value_mapper(self, mapper: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Self {
        Self { mapper: Arc::new(mapper), ..self }
    }

    /// Names the node.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }
}

fn key_and_value<K: Data, V: Data>(key: &K, value: &V) -> String
where
    K::Present: Display,
    V::Present: Display,
{
    format!("{}, {}", text(key.present()), text(value.present()))
}

fn text(present: Option<&impl Display>) -> String {
    present.map_or_else(|| "null".to_string(), ToString::to_string)
}
