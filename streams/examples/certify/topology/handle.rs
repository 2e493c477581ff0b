//! What an op's id stands for: an object of the DSL, and the static types of its keys and values.

use std::{borrow::Cow, sync::Arc};

use millstream::{
    CogroupedKStream, Data, GlobalKTable, KGroupedStream, KGroupedTable, KStream, KTable, SerdeRef, SessionWindowedCogroupedKStream,
    SessionWindowedKStream, SessionWindowedSerde, TimeWindowedCogroupedKStream, TimeWindowedKStream, TimeWindowedSerde, Windowed,
};

use crate::{
    functions::Bad,
    value::{Type, Value},
};

/// An object of the DSL. Keys carry their own null; a null value is `None`, as a table hands it out.
#[derive(Clone)]
pub enum Object {
    Stream(KStream<Value, Option<Value>>),
    WindowedStream(KStream<Windowed<Value>, Option<Value>>),
    Table(KTable<Value, Value>),
    WindowedTable(KTable<Windowed<Value>, Value>),
    GlobalTable(GlobalKTable<Value, Value>),
    Cogrouped(CogroupedKStream<Value, Value>),
    TimeWindowedCogroup(TimeWindowedCogroupedKStream<Value, Value>),
    SessionWindowedCogroup(SessionWindowedCogroupedKStream<Value, Value>),
    GroupedStream(KGroupedStream<Value, Option<Value>>),
    GroupedTable(KGroupedTable<Value, Value>),
    TimeWindowed(TimeWindowedKStream<Value, Option<Value>>),
    SessionWindowed(SessionWindowedKStream<Value, Option<Value>>),
}

/// An object and the types that it carries.
#[derive(Clone)]
pub struct Handle {
    pub object: Object,
    pub key: Type,
    pub value: Type,
}

/// What keys may be: plain, or in a window.
pub trait Key: Data<Present = Self> + PartialEq {
    /// The key as functions see it.
    fn seen(&self) -> Cow<'_, Value>;
    /// The key that a function returned.
    fn returned(value: Value) -> Self;
    /// The serde of keys of that type.
    fn serde(type_: Type) -> SerdeRef<Self>;
    fn stream(stream: KStream<Self, Option<Value>>) -> Object;
    fn table(table: KTable<Self, Value>) -> Object;
}

impl Key for Value {
    fn seen(&self) -> Cow<'_, Value> {
        Cow::Borrowed(self)
    }
    fn returned(value: Value) -> Self {
        value
    }
    fn serde(type_: Type) -> SerdeRef<Self> {
        type_.serde()
    }
    fn stream(stream: KStream<Self, Option<Value>>) -> Object {
        Object::Stream(stream)
    }
    fn table(table: KTable<Self, Value>) -> Object {
        Object::Table(table)
    }
}

impl Key for Windowed<Value> {
    fn seen(&self) -> Cow<'_, Value> {
        Cow::Owned(Value::windowed(self.key.clone(), self.window.start, self.window.end))
    }
    fn returned(value: Value) -> Self {
        match value {
            Value::Windowed(w) => Self::new(w.key.clone(), w.start, w.end),
            other => unreachable!("{other:?} is of another type than its mapper said"),
        }
    }
    fn serde(type_: Type) -> SerdeRef<Self> {
        match type_ {
            Type::TimeWindowed(size) => Arc::new(TimeWindowedSerde::new(Type::Str.serde(), size)),
            _ => Arc::new(SessionWindowedSerde::new(Type::Str.serde())),
        }
    }
    fn stream(stream: KStream<Self, Option<Value>>) -> Object {
        Object::WindowedStream(stream)
    }
    fn table(table: KTable<Self, Value>) -> Object {
        Object::WindowedTable(table)
    }
}

impl<K: Key> From<KStream<K, Option<Value>>> for Object {
    fn from(stream: KStream<K, Option<Value>>) -> Self {
        K::stream(stream)
    }
}

impl<K: Key> From<KTable<K, Value>> for Object {
    fn from(table: KTable<K, Value>) -> Self {
        K::table(table)
    }
}

/// Does the same with a stream, whatever its keys are.
macro_rules! each_stream {
    ($handle:expr, $stream:ident => $body:expr) => {
        match &$handle.object {
            $crate::topology::handle::Object::Stream($stream) => Ok($body),
            $crate::topology::handle::Object::WindowedStream($stream) => Ok($body),
            _ => Err($crate::functions::Bad("a handle is not a stream".into())),
        }
    };
}
pub(super) use each_stream;

/// Does the same with a table, whatever its keys are.
macro_rules! each_table {
    ($handle:expr, $table:ident => $body:expr) => {
        match &$handle.object {
            $crate::topology::handle::Object::Table($table) => Ok($body),
            $crate::topology::handle::Object::WindowedTable($table) => Ok($body),
            _ => Err($crate::functions::Bad("a handle is not a table".into())),
        }
    };
}
pub(super) use each_table;

impl Handle {
    pub fn is_table(&self) -> bool {
        matches!(self.object, Object::Table(_) | Object::WindowedTable(_))
    }

    pub fn stream(&self) -> Result<&KStream<Value, Option<Value>>, Bad> {
        match &self.object {
            Object::Stream(stream) => Ok(stream),
            _ => Err(Bad("a handle is not a stream of plain keys".into())),
        }
    }
}

/// A value as functions see it.
pub fn seen(value: &Option<Value>) -> &Value {
    value.as_ref().unwrap_or(&Value::Null)
}

/// A value that a function returned.
pub fn returned(value: Value) -> Option<Value> {
    (value != Value::Null).then_some(value)
}
