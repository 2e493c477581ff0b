//! All joins. The kinds of the two sides decide which join an op means.

use super::{Builder, unsupported};
use crate::{
    functions::joiner,
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
    pub(super) fn join(&mut self, op: &'a Join, _kind: Kind) -> Result<(), Stop> {
        let (left, right) = (self.handle(&op.left)?, self.handle(&op.right)?);
        joiner(&op.joiner, left.value, right.value)?;
        unsupported("join")
    }

    pub(super) fn fk_join(&mut self, op: &'a FkJoin, _kind: Kind) -> Result<(), Stop> {
        let (left, right) = (self.handle(&op.left)?, self.handle(&op.right)?);
        joiner(&op.joiner, left.value, right.value)?;
        unsupported("fk_join")
    }
}
