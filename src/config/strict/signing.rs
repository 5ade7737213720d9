//! Keys: which files, when each of them signs, and how signatures are made.

use std::collections::HashSet;
use std::path::PathBuf;

use super::super::domain::{KeysConfig, SigningKeyConfig, SigningSettings};
use super::super::pointer::{child, dotted};
use super::super::raw::{RawRing, RawSigning, RawSigningKey};
use super::{Checker, text};
use crate::set::Timestamp;
use crate::signing::Life;

pub(super) fn settings(raw: &RawSigning, checker: &mut Checker<'_>) -> Option<SigningSettings> {
    let threads = raw
        .threads
        .map(|threads| text::count(threads, "/signing/threads", checker));
    let library = raw.multi_buffer_library.as_ref();
    Some(SigningSettings {
        threads: text::all(threads)?,
        multi_buffer: raw.multi_buffer,
        multi_buffer_library: library.map(|path| PathBuf::from(&path.0)),
    })
}

/// The keys in files of a ring that is written at `at`.
pub(super) fn keys(words: RawRing<'_>, at: &str, checker: &mut Checker<'_>) -> Option<KeysConfig> {
    if words.names_vault() {
        return checker.wrong(
            &child(at, "vault"),
            format!(
                "there is a key in Vault, but `{}.backend` is another one",
                dotted(at)
            ),
            format!(
                "set `{}.backend: vault_transit`, or remove `vault`",
                dotted(at)
            ),
        );
    }
    match (words.ring, words.keys) {
        (Some(folder), []) => Some(KeysConfig::Ring(PathBuf::from(&folder.0))),
        (None, [_, ..]) => files(words.keys, &child(at, "keys"), checker).map(KeysConfig::Files),
        (None, []) => checker.wrong(
            at,
            "there is no key that signs",
            "add `keys` (`setbridge keys generate` makes one) or `ring` (`setbridge keys rotate` makes one)",
        ),
        (Some(_), [_, ..]) => checker.wrong(
            &child(at, "ring"),
            "there are `keys` and a `ring`",
            "give one of them: the folder says which keys are in it",
        ),
    }
}

fn files(
    raw: &[RawSigningKey],
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Vec<SigningKeyConfig>> {
    let mut files = HashSet::new();
    for (index, key) in raw.iter().enumerate() {
        if !files.insert(&key.file.0) {
            let at = child(&child(at, index), "file");
            checker.wrong::<()>(&at, "this key file is listed twice", "list it once");
        }
    }
    if raw.iter().all(|key| key.published_only) {
        return checker.wrong(
            at,
            "every key is `published_only`, so none signs",
            "take `published_only` from the key that signs",
        );
    }
    let each = raw.iter().enumerate().map(|(index, key)| {
        Some(SigningKeyConfig {
            file: PathBuf::from(&key.file.0),
            kid: key.kid.clone(),
            life: life(key, &child(at, index), checker)?,
            algorithm: key.algorithm,
        })
    });
    // All of them, so that every mistake is told.
    let each: Vec<Option<_>> = each.collect();
    each.into_iter().collect()
}

fn life(raw: &RawSigningKey, at: &str, checker: &mut Checker<'_>) -> Option<Life> {
    let mut time = |key: &str, text: &Option<String>| {
        let parsed = text
            .as_ref()
            .map(|text| text::time(text, &child(at, key), checker));
        text::all(parsed)
    };
    let not_before = time("not_before", &raw.not_before);
    let not_after = time("not_after", &raw.not_after);
    let published_until = time("published_until", &raw.published_until);
    let seconds = |time: jiff::Timestamp| Timestamp::from_secs(time.as_second());
    let life = Life {
        not_before: not_before?.map(seconds),
        not_after: not_after?.map(seconds),
        published_until: published_until?.map(seconds),
        published_only: raw.published_only,
        at_once: false,
    };
    let order = [
        ("not_before", life.not_before),
        ("not_after", life.not_after),
        ("published_until", life.published_until),
    ];
    let given: Vec<_> = order.iter().filter(|(_, time)| time.is_some()).collect();
    if let Some(pair) = given.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
        let (first, second) = (pair[0].0, pair[1].0);
        return checker.wrong(
            &child(at, second),
            format!("{second} is not after {first}"),
            "a key is published, signs from not_before to not_after, and leaves at published_until",
        );
    }
    Some(life)
}
