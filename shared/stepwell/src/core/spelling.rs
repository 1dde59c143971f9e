//! Suggestions for misspelt names.

use std::fmt;

/// The similarity from which a name is suggested, from 0 to 1.
const ALIKE: f64 = 0.65;

/// The known name that was probably meant by an unknown name, if there is one. It is displayed as the end of an error
/// message: `; did you mean ...?`, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant(Option<String>);

impl Meant {
    /// Finds the most similar known name, if any is similar enough.
    pub fn among<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let name = name.to_lowercase();
        let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase());
        let rated = known.into_iter().map(|known| (likeness(known), known));
        // Of two equally similar names, the first is suggested.
        let closest = rated.reduce(|best, next| if next.0 > best.0 { next } else { best });
        Self(closest.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, known)| known.to_owned()))
    }

    /// Whether a known name is similar enough.
    pub const fn is_any(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|meant| write!(f, "; did you mean `{meant}`?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_name_is_suggested_and_a_different_one_is_not() {
        let known = ["check_fraud", "check_stock", "take_payment"];
        for slip in ["chek_fraud", "check_fruad", "Check_Fraud", "check_frauds"] {
            assert_eq!(Meant::among(slip, known).to_string(), "; did you mean `check_fraud`?", "{slip}");
        }
        for (name, known) in [("ship", &known[..]), ("check_fraud", &[])] {
            let meant = Meant::among(name, known.iter().copied());
            assert_eq!((meant.to_string(), meant.is_any()), (String::new(), false), "{name}");
        }
    }
}
