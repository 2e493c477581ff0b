//! What a request is for.

use http::HeaderMap;

use crate::{failure::Failure, headers};

/// A pipeline or a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Pipeline(String),
    Model(String),
}

/// What the path of a request names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named<'a> {
    Pipeline(&'a str),
    Model(&'a str),
}

impl Target {
    /// Law: the headers decide; the path only without them. `x` is a model, `x.pipeline` a pipeline, `x.model` a model.
    pub fn of(headers: &HeaderMap, path: Named<'_>) -> Result<Self, Failure> {
        if let Some(target) = Self::of_headers(headers) {
            return target;
        }
        match path {
            Named::Pipeline(name) => Self::checked(name).map(|name| Self::Pipeline(name.strip_suffix(".pipeline").unwrap_or(name).into())),
            Named::Model(name) => Self::parse(name),
        }
    }

    /// What the headers name, if they do.
    pub fn of_headers(headers: &HeaderMap) -> Option<Result<Self, Failure>> {
        headers::last(headers, headers::INTERNAL_MODEL).or_else(|| headers::last(headers, headers::MODEL)).map(Self::parse)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        match text.rsplit_once('.') {
            Some((name, "pipeline")) => Self::checked(name).map(|name| Self::Pipeline(name.into())),
            Some((name, "model")) => Self::checked(name).map(|name| Self::Model(name.into())),
            Some((name, "experiment")) => {
                Err(Failure::not_found(format!("experiment {name}: this gateway knows pipelines and models only")))
            }
            _ => Self::checked(text).map(|name| Self::Model(name.into())),
        }
    }

    /// Names are parts of topics' names.
    fn checked(name: &str) -> Result<&str, Failure> {
        let fits =
            !name.is_empty() && name.len() <= 200 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        fits.then_some(name).ok_or_else(|| Failure::not_found(format!("no pipeline or model can be called {name:?}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn headers_decide_before_the_path() {
        let of = |pairs: &[(&'static str, &str)], path| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            Target::of(&headers, path)
        };
        let pipeline = |name: &str| Target::Pipeline(name.into());
        let model = |name: &str| Target::Model(name.into());
        for (headers, path, expected) in [
            (&[][..], Named::Model("m"), model("m")),
            (&[][..], Named::Pipeline("p"), pipeline("p")),
            (&[][..], Named::Model("p.pipeline"), pipeline("p")),
            (&[("seldon-model", "p.pipeline")][..], Named::Model("p"), pipeline("p")),
            (&[("seldon-model", "m")][..], Named::Pipeline("p"), model("m")),
            (&[("seldon-model", "m.model")][..], Named::Pipeline("p"), model("m")),
            (
                &[("seldon-model", "m"), ("seldon-internal-model", "a_1"), ("seldon-internal-model", "q.pipeline")][..],
                Named::Model("x"),
                pipeline("q"),
            ),
        ] {
            assert_eq!(of(headers, path).unwrap(), expected, "{headers:?} {path:?}");
        }
        assert_eq!(of(&[("seldon-model", "e.experiment")], Named::Model("e")).unwrap_err().http, 404);
        assert_eq!(of(&[], Named::Model("no such name")).unwrap_err().http, 404);
    }
}
