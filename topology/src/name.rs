//! The rule for names of nodes, stores and topics.

use crate::{Error, ErrorKind};

const LONGEST: usize = 249;

/// A name has 1 to 249 letters, digits, dots, underscores and hyphens, and is not `.` or `..`.
///
/// ```
/// use millstream_topology::check_name;
///
/// assert!(check_name("orders-by_id.1").is_ok());
/// assert!(check_name("orders by id").is_err());
/// ```
pub fn check(name: &str) -> Result<(), Error> {
    let reason = match name {
        "" => "is empty".into(),
        "." | ".." => "cannot be a dot or two".into(),
        _ if name.len() > LONGEST => format!("has more than {LONGEST} characters"),
        _ => match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(c) => format!("has the character {c:?}: use letters, digits, '.', '_' and '-'"),
            None => return Ok(()),
        },
    };
    Err(Error::new(ErrorKind::Topology, format!("name {name:?} {reason}")))
}
