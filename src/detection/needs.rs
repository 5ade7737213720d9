//! What of a detection anybody looks at. The rest is checked to be JSON, but not built: of a
//! detection of a kilobyte a mapping looks at some 100 bytes.

use std::collections::BTreeMap;

/// A part of a JSON value, by the names of members: the value as a whole, or only some members.
///
/// A part is meant for objects. Where something else stands in the place of one it is kept as it
/// is, so that a look at it finds the same as in the whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    whole: bool,
    members: BTreeMap<String, Needs>,
}

impl Needs {
    /// All of it.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            whole: true,
            members: BTreeMap::new(),
        }
    }

    /// Adds what is found by these names, whole.
    pub fn add<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let mut node = self;
        for name in names {
            node = node.members.entry(name.to_owned()).or_default();
        }
        node.whole = true;
    }

    /// Adds everything that somebody else needs.
    pub fn merge(&mut self, other: &Self) {
        self.whole |= other.whole;
        for (name, needs) in &other.members {
            self.members.entry(name.clone()).or_default().merge(needs);
        }
    }

    /// Whether the value is needed as a whole.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is needed of the member of this name, with the name; [`None`]: nothing.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<(&str, &Self)> {
        self.members
            .get_key_value(name)
            .map(|(name, needs)| (name.as_str(), needs))
    }

    /// The members that are needed, in the order of their names.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.members
            .iter()
            .map(|(name, needs)| (name.as_str(), needs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut needs = Needs::default();
        needs.add(["user", "email"]);
        needs.add(["user", "name"]);
        let mut other = Needs::default();
        other.add(["user"]);
        other.add(["time"]);
        let part = |needs: &Needs| -> Vec<String> {
            needs.members().map(|(name, _)| name.to_owned()).collect()
        };
        let (_, user) = needs.member("user").expect("the user");
        assert_eq!(
            (part(user), user.is_whole()),
            (vec!["email".into(), "name".into()], false)
        );
        needs.merge(&other);
        let (_, user) = needs.member("user").expect("the user");
        assert!(user.is_whole());
        assert_eq!(part(&needs), ["time", "user"]);
        assert!(needs.member("score").is_none() && !needs.is_whole());
    }
}
