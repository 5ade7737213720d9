//! Names, patterns, templates.

use super::*;

#[test]
fn names_follow_kafkas_rules() {
    for good in ["a", "A.b_c-9", &"x".repeat(249)] {
        assert_eq!(TopicName::parse(good).unwrap().as_str(), good);
    }
    for (bad, why) in [
        ("", TopicNameError::Empty),
        (".", TopicNameError::Dots),
        ("..", TopicNameError::Dots),
        ("a b", TopicNameError::Character(' ')),
        ("ä", TopicNameError::Character('ä')),
        (&"x".repeat(250), TopicNameError::TooLong),
    ] {
        assert_eq!(TopicName::parse(bad), Err(why), "{bad}");
    }
}

#[test]
fn a_pattern_matches_as_a_search_does() {
    let open = TopicPattern::parse("^det").unwrap();
    assert!(open.matches("detections"));
    assert!(!open.matches("my.det"));
    let closed = TopicPattern::parse(r"^detections\.[a-z]+$").unwrap();
    assert!(closed.matches("detections.edr"));
    assert!(!closed.matches("detections.edr.okta.dlq"));
    let either = TopicPattern::parse("^a|b$").unwrap();
    assert!(either.matches("xxb"));
}

#[test]
fn a_pattern_that_may_reach_a_derived_topic_is_seen() {
    let reaches = |pattern: &str| {
        TopicPattern::parse(pattern)
            .unwrap()
            .matches_any_between("", ".okta.dlq")
    };
    assert!(reaches("^detections"));
    assert!(reaches(r"^detections\..*$"));
    assert!(reaches("^.{3,20}q$"));
    assert!(reaches("^a|.okta.dl"));
    assert!(!reaches(r"^detections\.[a-z]+$"));
    assert!(!reaches("^[a-z]+$"));
    assert!(!reaches(r"^[a-z.]+\.in$"));
    assert!(!reaches(r"^\.okta\.dlq$"), "a source topic has a name");
}

#[test]
fn what_engines_read_differently_is_refused() {
    for bad in [
        r"^\d+", r"^\w", "^(?i)a", "^a+?", "^a*+", r"^[\.]", "^[a[b]]", "^[a&&b]",
    ] {
        assert!(
            matches!(TopicPattern::parse(bad), Err(TopicPatternError::Dialect(_))),
            "{bad}"
        );
    }
    for good in [r"^a\.b$", "^[[:alpha:]_.-]+x{2,3}$", "^(a|b)c?$"] {
        TopicPattern::parse(good).unwrap();
    }
    assert_eq!(
        TopicPattern::parse("a").err(),
        Some(TopicPatternError::NotAnchored)
    );
    assert_eq!(
        TopicPattern::parse("^(a").err(),
        Some(TopicPatternError::Syntax("unclosed group".into()))
    );
    assert_eq!(
        TopicPattern::parse("^a)(b").err(),
        Some(TopicPatternError::Syntax("unopened group".into()))
    );
    assert_eq!(
        TopicPattern::parse("^([ab]*a[ab]{20})$").err(),
        Some(TopicPatternError::TooLarge)
    );
}

#[test]
fn a_template_fills_in_topic_and_stream() {
    let template = TopicTemplate::parse("{topic}.{stream}.dlq", "okta").unwrap();
    assert_eq!(template.name_for("det").unwrap().as_str(), "det.okta.dlq");
    assert_eq!(template.to_string(), "{topic}.okta.dlq");
    assert!(template.may_yield("det.okta.dlq"));
    assert!(!template.may_yield(".okta.dlq"));
    assert!(template.name_for(&"x".repeat(241)).is_err());
    let fixed = TopicTemplate::parse("dead", "okta").unwrap();
    assert_eq!(fixed.name_for("det").unwrap().as_str(), "dead");
    assert!(!fixed.has_topic());
    assert_eq!(
        TopicTemplate::parse("{topic}{topic}", "okta"),
        Err(TopicTemplateError::TopicTwice)
    );
    assert!(TopicTemplate::parse("{tpoic}.dlq", "okta").is_err());
}
