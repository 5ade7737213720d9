//! JSON pointers (RFC 6901), by which the steps of loading name a place in the configuration.

/// The pointer to a member of the object, or an element of the array, at `parent`.
pub(super) fn child(parent: &str, token: impl std::fmt::Display) -> String {
    let token = token.to_string().replace('~', "~0").replace('/', "~1");
    format!("{parent}/{token}")
}

/// The pointer without its last token; [`None`] at the root.
pub(super) fn parent(pointer: &str) -> Option<&str> {
    pointer.rfind('/').map(|at| &pointer[..at])
}

/// The tokens, unescaped.
pub(super) fn tokens(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
}

/// As people write it: `/streams/0/id` → `streams[0].id`.
pub(super) fn dotted(pointer: &str) -> String {
    let mut text = String::new();
    for token in tokens(pointer) {
        if token.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            text.push_str(&format!("[{token}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&token);
        }
    }
    text
}

/// Whether the pointer is to the rules of a mapping, or to something in them: text there has a
/// grammar of its own.
pub(super) fn in_mapping(pointer: &str) -> bool {
    let mut tokens = tokens(pointer);
    tokens.next().as_deref() == Some("streams") && tokens.nth(1).as_deref() == Some("mapping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_written_and_read() {
        assert_eq!(child("/a", "b/c~d"), "/a/b~1c~0d");
        assert_eq!(tokens("/a/b~1c~0d").collect::<Vec<_>>(), ["a", "b/c~d"]);
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some(""));
        assert_eq!(parent(""), None);
        assert_eq!(dotted("/streams/0/id"), "streams[0].id");
        assert_eq!(dotted(""), "");
        assert!(in_mapping("/streams/3/mapping/rules/0"));
        assert!(!in_mapping("/streams/3/receiver/mapping"));
    }
}
