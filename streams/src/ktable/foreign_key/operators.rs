//! The five operators of a foreign-key join, at run time.

use std::{marker::PhantomData, sync::Arc};

use bytes::Bytes;
use millstream_topology::{Change, Children, Data, Error, Node, Record, SerdeRef, TaskContext, store::TimestampedKeyValueStore};

use super::{
    hash::hash,
    wire::{Instruction, Response, Subscription, combined_key},
};
use crate::ktable::Getter;

/// **Law.** A change of a left row becomes subscriptions: first the old right row is let go, then the new one is asked for. The inner join
/// asks for no answer that could not change the result; the left join is always answered.
pub(super) struct Subscribe<K, V, KO, F> {
    pub foreign_key: Arc<F>,
    pub is_left_join: bool,
    pub is_versioned: bool,
    pub foreign_key_serde: SerdeRef<KO>,
    pub value_serde: SerdeRef<V>,
    pub children: Children<Option<KO>, Subscription<K>>,
}

impl<K: Data, V: Data, KO: Data, F: Fn(&K, &V) -> Option<KO> + 'static> Node<K, Change<V>> for Subscribe<K, V, KO, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        let Record { key, value: Change { new, old, is_latest }, timestamp, headers } = record;
        if self.is_versioned && !is_latest {
            context.drop_record();
            return Ok(());
        }
        let old_key = old.as_ref().and_then(|old| (self.foreign_key)(&key, old));
        let new_key = new.as_ref().and_then(|new| (self.foreign_key)(&key, new));
        let is_changed = match (&old_key, &new_key) {
            (Some(old), Some(new)) => self.foreign_key_serde.serialize(old)? != self.foreign_key_serde.serialize(new)?,
            (old, new) => old.is_some() != new.is_some(),
        };
        let partition = Some(context.record.metadata.partition);
        let hash = new.as_ref().map(|new| self.value_serde.serialize(new)).transpose()?.map(|bytes| hash(&bytes));
        let send = |context: &mut TaskContext, foreign_key: Option<KO>, instruction| {
            let value = Subscription { hash, instruction, key: key.clone(), partition };
            self.children.forward(context, Record { key: foreign_key, value, timestamp, headers: headers.copied() })
        };
        if self.is_left_join {
            if old.is_none() && new.is_none() {
                return Ok(());
            }
            if old_key.is_some() && is_changed {
                send(context, old_key, Instruction::Delete)?;
            }
            return send(context, new_key, Instruction::Answer);
        }
        if new.is_some() && new_key.is_none() {
            context.drop_record();
        }
        match (old_key, new_key) {
            (None, None) => Ok(()),
            (old @ Some(_), None) => send(context, old, Instruction::DeleteAndAnswer),
            (old @ Some(_), new) if is_changed => {
                send(context, old, Instruction::Delete)?;
                send(context, new, Instruction::Answer)
            }
            (_, new) => send(context, new, Instruction::AnswerIfPresent),
        }
    }
}

/// **Law.** Subscriptions are kept under their foreign key, so that a right row finds them.
pub(super) struct Receive<K, KO> {
    pub store: TimestampedKeyValueStore<Bytes, Subscription<K>>,
    pub foreign_key_serde: SerdeRef<KO>,
    pub key_serde: SerdeRef<K>,
    pub children: Children<Option<KO>, Subscription<K>>,
}

impl<K: Data, KO: Data> Node<Option<KO>, Subscription<K>> for Receive<K, KO> {
    fn process(&mut self, context: &mut TaskContext, record: Record<Option<KO>, Subscription<K>>) -> Result<(), Error> {
        let subscription = &record.value;
        match &record.key {
            None if subscription.instruction != Instruction::Answer => {
                context.drop_record();
                return Ok(());
            }
            None => {}
            Some(foreign_key) => {
                let (foreign_key, key) = (self.foreign_key_serde.serialize(foreign_key)?, self.key_serde.serialize(&subscription.key)?);
                let row = match subscription.instruction {
                    Instruction::Delete | Instruction::DeleteAndAnswer => None,
                    Instruction::Answer | Instruction::AnswerIfPresent => Some((subscription, record.timestamp)),
                };
                self.store.put(context, &combined_key(&foreign_key, &key), row)?;
            }
        }
        let headers = record.headers.copied();
        self.children.forward(context, record.with_headers(headers))
    }
}

/// **Law.** A subscription is answered with the right row as it is now, as its instruction says.
pub(super) struct Answer<K, KO, VO> {
    pub rows: Box<dyn Getter<KO, VO>>,
    pub children: Children<K, Response<VO>>,
}

impl<K: Data, KO: Data, VO: Data> Node<Option<KO>, Subscription<K>> for Answer<K, KO, VO> {
    fn process(&mut self, context: &mut TaskContext, record: Record<Option<KO>, Subscription<K>>) -> Result<(), Error> {
        let Record { key: foreign_key, value: Subscription { hash, instruction, key, partition }, timestamp, headers } = record;
        let row = match &foreign_key {
            Some(foreign_key) => self.rows.get(context, foreign_key)?,
            None => None,
        };
        let timestamp = row.as_ref().map_or(timestamp, |row| row.timestamp.max(timestamp));
        let value = match instruction {
            Instruction::Delete => return Ok(()),
            Instruction::AnswerIfPresent if row.is_none() => return Ok(()),
            Instruction::DeleteAndAnswer => None,
            Instruction::Answer | Instruction::AnswerIfPresent => row.map(|row| row.value),
        };
        self.children.forward(context, Record { key, value: Response { hash, value, partition }, timestamp, headers: headers.copied() })
    }
}

/// **Law.** A change of a right row is sent to all that have subscribed to it, in the order of the left keys' bytes.
pub(super) struct FanOut<K, KO, VO> {
    pub is_versioned: bool,
    pub store: TimestampedKeyValueStore<Bytes, Subscription<K>>,
    pub foreign_key_serde: SerdeRef<KO>,
    pub children: Children<K, Response<VO>>,
}

impl<K: Data, KO: Data, VO: Data> Node<KO, Change<VO>> for FanOut<K, KO, VO> {
    fn process(&mut self, context: &mut TaskContext, record: Record<KO, Change<VO>>) -> Result<(), Error> {
        let Record { key, value: Change { new, is_latest, .. }, timestamp, headers } = record;
        if self.is_versioned && !is_latest {
            context.drop_record();
            return Ok(());
        }
        let prefix = combined_key(&self.foreign_key_serde.serialize(&key)?, &[]);
        for row in self.store.prefix_scan(&prefix) {
            let Subscription { hash, key, partition, .. } = row?.1.value;
            let value = Response { hash, value: new.clone(), partition };
            self.children.forward(context, Record { key, value, timestamp, headers: headers.copied() })?;
        }
        Ok(())
    }
}

/// **Law.** An answer counts only if the left row still has the value for which it was asked.
pub(super) struct Resolve<K, V, VO, R, F> {
    pub rows: Box<dyn Getter<K, V>>,
    pub value_serde: SerdeRef<V>,
    pub joiner: Arc<F>,
    pub children: Children<K, Option<R>>,
    pub right: PhantomData<VO>,
}

impl<K: Data, V: Data, VO: Data, R: Data, F> Node<K, Response<VO>> for Resolve<K, V, VO, R, F>
where
    F: Fn(&V, Option<&VO>) -> Option<R> + 'static,
{
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Response<VO>>) -> Result<(), Error> {
        let row = self.rows.get(context, &record.key)?;
        let current = row.as_ref().map(|row| self.value_serde.serialize(&row.value)).transpose()?.map(|bytes| hash(&bytes));
        if current != record.value.hash {
            context.drop_record();
            return Ok(());
        }
        let result = row.and_then(|row| (self.joiner)(&row.value, record.value.value.as_ref()));
        self.children.forward(context, record.with_value(result))
    }
}
