//! Names of resources, and the nearest one to a name that does not exist.

/// Whether a name can be one of a model or a pipeline: lower-case letters, digits and inner dashes. A dot would break topic names.
pub(crate) fn is_valid(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.chars().all(|c| plain(c) || c == '-') && name.starts_with(plain) && name.ends_with(plain)
}

/// Names the nearest of the names that exist, as the end of a message; nothing if none is near.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = known.into_iter().map(|other| (strsim::jaro_winkler(name, other), other)).filter(|(score, _)| *score > 0.8);
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, other)) => format!(": did you mean {other}?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_without_dots() {
        for good in ["a", "add10", "a-b", "0", "x--y"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "A", "a_b", "ä", "a b"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(did_you_mean("ad10", ["mul10", "add10"]), ": did you mean add10?");
        assert_eq!(did_you_mean("zzz", ["mul10", "add10"]), "");
    }
}
