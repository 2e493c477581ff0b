//! What an op's id stands for: an object of the DSL, and the static types of its keys and values.

use millstream::{Data, KStream};

use crate::value::{Type, Value};

/// A handle of the DSL.
#[derive(Clone)]
pub enum Object {
    Stream(KStream<Value, Value>),
}

/// An object and the types that it carries.
#[derive(Clone)]
pub struct Handle {
    pub object: Object,
    pub key: Type,
    pub value: Type,
}

/// What the keys of a handle may be: plain, or in a window.
pub trait Key: Data<Present = Self> {
    /// The key as functions see it.
    fn value(&self) -> Value;
    /// The key that a function returned.
    fn of(value: Value) -> Self;
    fn stream(stream: KStream<Self, Value>) -> Object;
}

impl Key for Value {
    fn value(&self) -> Value {
        self.clone()
    }
    fn of(value: Value) -> Self {
        value
    }
    fn stream(stream: KStream<Self, Value>) -> Object {
        Object::Stream(stream)
    }
}
