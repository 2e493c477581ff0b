//! All joins. The kinds of the two sides decide which join an op means.

use std::sync::Arc;

use millstream::{GlobalKTable, JoinWindows, Joined, KStream, KTable, Materialized, StreamJoined, TableJoined};

use super::{
    Builder,
    handle::{Handle, Key, Object, each_table, returned, seen},
    options::named,
    required, unsupported,
};
use crate::{
    functions::{Bad, Joiner, Mapper, joiner, mapper},
    run::Stop,
    scenario::{FkJoin, Join, Text},
    value::{Type, Value},
};

/// Which unmatched rows a join keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Left,
    Outer,
}

impl<'a> Builder<'a> {
    pub(super) fn join(&mut self, op: &'a Join, kind: Kind) -> Result<(), Stop> {
        let (left, right) = (self.handle(&op.left)?, self.handle(&op.right)?);
        let joiner = joiner(&op.joiner, left.value, right.value)?;
        let types = (left.key, joiner.out);
        let materialized = &op.materialized;
        let joined = match (&left.object, &right.object) {
            (Object::Table(this), Object::Table(other)) => {
                let materialized = materialized.as_ref().map(|_| self.materialized(materialized, &op.name, types));
                tables(this, other, kind, joiner.apply, &op.name, materialized)
            }
            (Object::WindowedTable(this), Object::WindowedTable(other)) => {
                let materialized = materialized.as_ref().map(|_| self.materialized(materialized, &op.name, types));
                tables(this, other, kind, joiner.apply, &op.name, materialized)
            }
            (Object::Stream(this), Object::Stream(other)) => {
                let joined = self.stream_joined(op, (&left, &right));
                streams(this, other, kind, joiner.apply, windows(op)?, joined)
            }
            (Object::WindowedStream(this), Object::WindowedStream(other)) => {
                let joined = self.stream_joined(op, (&left, &right));
                streams(this, other, kind, joiner.apply, windows(op)?, joined)
            }
            (Object::Stream(this), Object::Table(table)) => with_table(this, table, kind, joiner.apply, joined(op, &left)),
            (Object::WindowedStream(this), Object::WindowedTable(table)) => with_table(this, table, kind, joiner.apply, joined(op, &left)),
            (Object::Stream(this), Object::GlobalTable(table)) => self.with_global(op, &left, (this, table), kind, joiner.apply)?,
            (Object::WindowedStream(this), Object::GlobalTable(table)) => self.with_global(op, &left, (this, table), kind, joiner.apply)?,
            _ => return unsupported("join"),
        };
        self.define(&op.id, joined, left.key, joiner.out)
    }

    fn stream_joined<K: Key>(&mut self, op: &Join, (left, right): (&Handle, &Handle)) -> StreamJoined<K, Option<Value>, Option<Value>> {
        let mut joined = StreamJoined::with(K::serde(left.key), left.value.serde(), right.value.serde());
        if let Some(name) = &op.name {
            joined = joined.name(&**name);
        }
        if let Some(name) = &op.store_name {
            joined = joined.store_name(&**name);
        }
        if let Some(store) = op.store {
            joined = joined.store_type(self.store_type(store));
        }
        match op.logging {
            Some(logging) => joined.logging(logging),
            None => joined,
        }
    }

    fn with_global<K: Key>(
        &self,
        op: &Join,
        left: &Handle,
        (this, table): (&KStream<K, Option<Value>>, &GlobalKTable<Value, Value>),
        kind: Kind,
        joiner: Arc<Joiner>,
    ) -> Result<Object, Bad> {
        let key = mapper(required(&op.key, "key")?, left.key, left.value)?.apply;
        let key = move |k: &K, v: &Option<Value>| key(&k.seen(), seen(v));
        let join = move |k: &K, l: &Value, r: Option<&Value>| returned(joiner(&k.seen(), l, r.unwrap_or(&Value::Null)));
        Ok(Object::from(match kind {
            Kind::Inner => this.join_global_with_key(table, key, move |k, l, r| join(k, l, Some(r)), named(&op.name)),
            Kind::Left | Kind::Outer => this.left_join_global_with_key(table, key, join, named(&op.name)),
        }))
    }

    pub(super) fn fk_join(&mut self, op: &'a FkJoin, kind: Kind) -> Result<(), Stop> {
        let (left, right) = (self.handle(&op.left)?, self.handle(&op.right)?);
        let joiner = joiner(&op.joiner, left.value, right.value)?;
        let key = mapper(&op.fk, left.key, left.value)?;
        if !key.out.fits(right.key) {
            return Err(Bad(format!("a foreign key of type {:?} and keys of type {:?}", key.out, right.key)).into());
        }
        let out = joiner.out;
        let joined = each_table!(left, this => each_table!(right, other => {
            let materialized = self.materialized(&op.materialized, &None, (left.key, out));
            let (sides, apply) = (((left.key, left.value), (right.key, right.value)), joiner.apply);
            by_foreign_key(this, other, kind, key.apply, apply, options(op, sides), materialized)
        })?)?;
        self.define(&op.id, joined, left.key, out)
    }
}

fn windows(op: &Join) -> Result<JoinWindows, Bad> {
    let window = op.window.as_ref().ok_or_else(|| Bad("field window is missing".into()))?;
    let mut windows = match window.grace {
        Some(grace) => JoinWindows::of_time_difference_and_grace(window.diff, grace),
        None => JoinWindows::of_time_difference_with_no_grace(window.diff),
    };
    if let Some(before) = window.before {
        windows = windows.before(before);
    }
    Ok(match window.after {
        Some(after) => windows.after(after),
        None => windows,
    })
}

fn streams<K: Key>(
    this: &KStream<K, Option<Value>>,
    other: &KStream<K, Option<Value>>,
    kind: Kind,
    joiner: Arc<Joiner>,
    windows: JoinWindows,
    joined: StreamJoined<K, Option<Value>, Option<Value>>,
) -> Object {
    let join = move |k: &K, l: Option<&Value>, r: Option<&Value>| {
        returned(joiner(&k.seen(), l.unwrap_or(&Value::Null), r.unwrap_or(&Value::Null)))
    };
    Object::from(match kind {
        Kind::Inner => this.join_with_key(other, move |k, l, r| join(k, Some(l), Some(r)), windows, joined),
        Kind::Left => this.left_join_with_key(other, move |k, l, r| join(k, Some(l), r), windows, joined),
        Kind::Outer => this.outer_join_with_key(other, join, windows, joined),
    })
}

fn joined<K: Key>(op: &Join, left: &Handle) -> Joined<K, Option<Value>> {
    let mut joined = Joined::with(K::serde(left.key), left.value.serde());
    if let Some(name) = &op.name {
        joined = joined.name(&**name);
    }
    match op.grace {
        Some(grace) => joined.grace_period_ms(grace),
        None => joined,
    }
}

fn with_table<K: Key>(
    this: &KStream<K, Option<Value>>,
    table: &KTable<K, Value>,
    kind: Kind,
    joiner: Arc<Joiner>,
    joined: Joined<K, Option<Value>>,
) -> Object {
    let join = move |k: &K, l: &Value, r: Option<&Value>| returned(joiner(&k.seen(), l, r.unwrap_or(&Value::Null)));
    Object::from(match kind {
        Kind::Inner => this.join_table_with_key(table, move |k, l, r| join(k, l, Some(r)), joined),
        Kind::Left | Kind::Outer => this.left_join_table_with_key(table, join, joined),
    })
}

fn tables<K: Key>(
    this: &KTable<K, Value>,
    other: &KTable<K, Value>,
    kind: Kind,
    joiner: Arc<Joiner>,
    name: &Option<Text>,
    materialized: Option<Materialized<K, Value>>,
) -> Object {
    // These joiners see no key.
    let inner = {
        let joiner = joiner.clone();
        move |l: &Value, r: &Value| joiner(&Value::Null, l, r)
    };
    let left = {
        let joiner = joiner.clone();
        move |l: &Value, r: Option<&Value>| joiner(&Value::Null, l, r.unwrap_or(&Value::Null))
    };
    let outer = move |l: Option<&Value>, r: Option<&Value>| joiner(&Value::Null, l.unwrap_or(&Value::Null), r.unwrap_or(&Value::Null));
    Object::from(match (kind, materialized, named(name)) {
        (Kind::Inner, None, None) => this.join(other, inner),
        (Kind::Inner, None, Some(name)) => this.join_named(other, inner, name),
        (Kind::Inner, Some(materialized), _) => this.join_with(other, inner, materialized),
        (Kind::Left, None, None) => this.left_join(other, left),
        (Kind::Left, None, Some(name)) => this.left_join_named(other, left, name),
        (Kind::Left, Some(materialized), _) => this.left_join_with(other, left, materialized),
        (Kind::Outer, None, None) => this.outer_join(other, outer),
        (Kind::Outer, None, Some(name)) => this.outer_join_named(other, outer, name),
        (Kind::Outer, Some(materialized), _) => this.outer_join_with(other, outer, materialized),
    })
}

type Sides = ((Type, Type), (Type, Type));

fn options<K: Key, L: Key>(op: &FkJoin, (left, right): Sides) -> TableJoined<K, Value, L, Value> {
    let mut options = TableJoined::with((K::serde(left.0), left.1.serde()), (L::serde(right.0), right.1.serde()));
    if op.partitioner.as_deref() == Some("zero") {
        options = options.partitioner(|_, _, _| Some(0)).other_partitioner(|_, _, _| Some(0));
    }
    match &op.name {
        Some(name) => options.name(&**name),
        None => options,
    }
}

fn by_foreign_key<K: Key, L: Key>(
    this: &KTable<K, Value>,
    other: &KTable<L, Value>,
    kind: Kind,
    key: Arc<Mapper>,
    joiner: Arc<Joiner>,
    options: TableJoined<K, Value, L, Value>,
    materialized: Materialized<K, Value>,
) -> Object {
    let key = move |k: &K, v: &Value| returned(key(&k.seen(), v)).map(L::returned);
    let join = move |l: &Value, r: Option<&Value>| joiner(&Value::Null, l, r.unwrap_or(&Value::Null));
    Object::from(match kind {
        Kind::Inner => this.foreign_key_join_with(other, key, move |l, r| join(l, Some(r)), options, materialized),
        Kind::Left | Kind::Outer => this.foreign_key_left_join_with(other, key, join, options, materialized),
    })
}
