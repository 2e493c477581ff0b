//! Keys and values, and how null appears in their types.

/// What can be a key or a value.
///
/// **Law.** Null is `Option::None`: a type is nullable exactly if it says so. `String` is never null, `Option<String>` may be, and
/// both carry a present `String`. Operators whose result may be absent (a left join's missing side, a deleted row) hand out
/// `Option<&V::Present>`; tables hold `V::Present`, because a row whose value is null is a row that is not there.
///
/// The types of the standard library that have a [`DefaultSerde`](crate::DefaultSerde) implement it; `data!(MyType)` implements it
/// for a type of your own.
///
/// ```
/// use millstream_topology::Data;
/// assert_eq!("a".to_string().into_present(), Some("a".to_string()));
/// assert_eq!(None::<String>.into_present(), None);
/// assert_eq!(<Option<String>>::from_present(Some("a".into())), Some(Some("a".into())));
/// assert_eq!(String::from_present(None), None);
/// ```
pub trait Data: Clone + 'static {
    /// The type without its null.
    type Present: Data<Present = Self::Present>;
    /// The value, unless it is null.
    fn present(&self) -> Option<&Self::Present>;
    /// The value, unless it is null.
    fn into_present(self) -> Option<Self::Present>;
    /// The other way round; `None` if the type has no null.
    fn from_present(present: Option<Self::Present>) -> Option<Self>;
    /// Whether it is null.
    fn is_null(&self) -> bool {
        self.present().is_none()
    }
}

impl<T: Data<Present = T>> Data for Option<T> {
    type Present = T;
    fn present(&self) -> Option<&T> {
        self.as_ref().and_then(T::present)
    }
    fn into_present(self) -> Option<T> {
        self.and_then(T::into_present)
    }
    fn from_present(present: Option<T>) -> Option<Self> {
        Some(present)
    }
}

/// Makes types usable as keys and values that are never null; a generic one is named after its parameters.
///
/// ```
/// #[derive(Clone)]
/// struct Order { amount: u32 }
/// millstream_topology::data!(Order);
///
/// #[derive(Clone)]
/// struct Page<T>(Vec<T>);
/// millstream_topology::data!(impl[T: Clone + 'static] Page<T>);
/// ```
#[macro_export]
macro_rules! data {
    (impl[$($parameters:tt)*] $type:ty) => {
        impl<$($parameters)*> $crate::Data for $type {
            type Present = Self;
            fn present(&self) -> Option<&Self> { Some(self) }
            fn into_present(self) -> Option<Self> { Some(self) }
            fn from_present(present: Option<Self>) -> Option<Self> { present }
        }
    };
    ($($type:ty),+ $(,)?) => { $( $crate::data!(impl[] $type); )+ };
}

data!((), bool, i8, i16, i32, i64, u8, u16, u32, u64, f32, f64, String, bytes::Bytes, Vec<u8>, uuid::Uuid);
data!(impl[A: Data<Present = A>, B: Data<Present = B>] (A, B));
