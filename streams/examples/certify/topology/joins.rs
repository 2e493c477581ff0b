//! All joins. The shapes of the two sides decide which join an op means.

use super::{Builder, Shape, required};
use crate::{
    functions::{Bad, joiner, mapper},
    run::Stop,
    scenario::{FkJoin, Join},
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
        let right_key = match (left.shape, right.shape, kind) {
            (Shape::Stream, Shape::Stream, _) if op.window.is_some() => left.key,
            (Shape::Table, Shape::Table, _) | (Shape::Stream, Shape::Table, Kind::Inner | Kind::Left) => left.key,
            (Shape::Stream, Shape::GlobalTable, Kind::Inner | Kind::Left) => mapper(required(&op.key, "key")?, left.key, left.value)?.out,
            (left, right, kind) => return Err(Bad(format!("there is no {kind:?} join of {left:?} and {right:?}")).into()),
        };
        if !right_key.fits(right.key) {
            return Err(Bad(format!("a join of keys of types {right_key:?} and {:?}", right.key)).into());
        }
        self.define(&op.id, left.shape, left.key, joiner.out)
    }

    pub(super) fn fk_join(&mut self, op: &'a FkJoin, _kind: Kind) -> Result<(), Stop> {
        let (left, right) = (self.handle_of(&op.left, &[Shape::Table])?, self.handle_of(&op.right, &[Shape::Table])?);
        let joiner = joiner(&op.joiner, left.value, right.value)?;
        let key = mapper(&op.fk, left.key, left.value)?;
        if !key.out.fits(right.key) {
            return Err(Bad(format!("a foreign key of type {:?} and keys of type {:?}", key.out, right.key)).into());
        }
        self.define(&op.id, Shape::Table, left.key, joiner.out)
    }
}
