//! What a response's headers say about time: `Retry-After` and `X-Rate-Limit-*`.
//!
//! Pure: the caller passes its own clock. A receiver's numbers are hostile until shown otherwise: every
//! wait ends up in `[1 s, cap]`, whatever was sent. It must never panic and never wait for ever.

use std::time::Duration;

use jiff::civil::DateTime;

/// The least advised wait: what lies in the past, or says 0, counts as one second (DESIGN §5).
pub const LEAST: Duration = Duration::from_secs(1);

/// The headers that matter, as text, each as it was on the wire (the first one where there are several).
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeHeaders<'a> {
    /// `Retry-After` (RFC 9110 §10.2.3): seconds or an HTTP date.
    pub retry_after: Option<&'a str>,
    /// `X-Rate-Limit-Limit`: requests per window.
    pub limit: Option<&'a str>,
    /// `X-Rate-Limit-Remaining`: requests left in this window.
    pub remaining: Option<&'a str>,
    /// `X-Rate-Limit-Reset`: end of the window, UTC epoch seconds (CONTRACTS §1.6).
    pub reset: Option<&'a str>,
    /// `Date` (RFC 9110 §6.6.1): the receiver's clock, so that its skew cancels out.
    pub date: Option<&'a str>,
}

/// The receiver's rate-limit headers, made relative to now and capped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// Requests per window.
    pub limit: Option<u64>,
    /// Requests left in the window.
    pub remaining: Option<u64>,
    /// Time until the window ends, within `[1 s, cap]`.
    pub reset: Option<Duration>,
}

impl RateHeaders {
    /// Okta's form of a *concurrency* 429: limit and remaining both 0; then the reset is only a hint
    /// (CONTRACTS §1.6) and no reason to wait for it.
    #[must_use]
    pub fn is_concurrency_hint(&self) -> bool {
        self.limit == Some(0) && self.remaining == Some(0)
    }
}

/// Which header an [`Advice`] came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdviceSource {
    /// `Retry-After`.
    RetryAfter,
    /// `X-Rate-Limit-Reset`.
    RateLimitReset,
}

/// The earliest next attempt that the receiver asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// From the moment of the answer, within `[1 s, cap]`.
    pub wait: Duration,
    /// Where it came from.
    pub source: AdviceSource,
}

/// Reads the rate-limit headers. `now` is our clock in epoch seconds, used where the response has no
/// readable `Date`.
#[must_use]
pub fn read_rate(headers: &TimeHeaders<'_>, now: i64, cap: Duration) -> RateHeaders {
    let clock = || headers.date.and_then(parse_http_date).unwrap_or(now);
    RateHeaders {
        limit: headers.limit.and_then(parse_count),
        remaining: headers.remaining.and_then(parse_count),
        reset: headers
            .reset
            .and_then(parse_number)
            .map(|reset| clamp(reset - clock() as f64, cap)),
    }
}

/// Reads what a faulty answer (`status`) advises. `None` when:
/// * there is neither `Retry-After` nor `X-Rate-Limit-Reset`, or neither is readable;
/// * there is only a reset, the status is not 429 and requests are left in the window (Okta sends the
///   headers with every answer);
/// * there is only a reset and it is the hint of a concurrency 429.
#[must_use]
pub fn read_advice(
    headers: &TimeHeaders<'_>,
    rate: &RateHeaders,
    status: u16,
    now: i64,
    cap: Duration,
) -> Option<Advice> {
    if let Some(wait) = headers
        .retry_after
        .and_then(|text| parse_retry_after(text, headers.date, now, cap))
    {
        return Some(Advice {
            wait,
            source: AdviceSource::RetryAfter,
        });
    }
    let window_used_up = status == 429 || rate.remaining == Some(0);
    if !window_used_up || rate.is_concurrency_hint() {
        return None;
    }
    rate.reset.map(|wait| Advice {
        wait,
        source: AdviceSource::RateLimitReset,
    })
}

/// `Retry-After` in both forms. `None` when it is empty, no number and no date, or a date that does not
/// exist. Numbers may be signed, fractional or in scientific notation: some servers send them.
#[must_use]
pub fn parse_retry_after(
    text: &str,
    date: Option<&str>,
    now: i64,
    cap: Duration,
) -> Option<Duration> {
    if let Some(seconds) = parse_number(text) {
        return Some(clamp(seconds, cap));
    }
    let until = parse_http_date(text)?;
    let clock = date.and_then(parse_http_date).unwrap_or(now);
    Some(clamp(until as f64 - clock as f64, cap))
}

/// An HTTP date in any of its three forms (RFC 9110 §5.6.7) as epoch seconds.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<i64> {
    const FORMS: [&str; 3] = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ];
    let text = text.trim();
    // The longest form has 33 characters ("Wednesday, 09-Nov-94 08:49:37 GMT").
    if text.len() > 40 {
        return None;
    }
    let civil = FORMS
        .iter()
        .find_map(|form| DateTime::strptime(form, text).ok())?;
    Some(
        civil
            .duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0))
            .as_secs(),
    )
}

/// A decimal number: digits, with an optional sign, fraction and exponent. No `nan`, no `inf`, no hex.
fn parse_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if text.is_empty() || !plain {
        return None;
    }
    // "1e999" parses to infinity; clamp() turns that into the cap.
    text.parse::<f64>().ok().filter(|number| !number.is_nan())
}

fn parse_count(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Seconds into `[LEAST, cap]`; a cap below [`LEAST`] counts as [`LEAST`].
fn clamp(seconds: f64, cap: Duration) -> Duration {
    let cap = cap.max(LEAST);
    if seconds <= LEAST.as_secs_f64() {
        return LEAST;
    }
    Duration::try_from_secs_f64(seconds).map_or(cap, |wait| wait.min(cap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAP: Duration = Duration::from_secs(300);
    /// 1994-11-06T08:49:37Z, the example of RFC 9110.
    const NOW: i64 = 784_111_777;

    fn secs(text: &str) -> Option<u64> {
        parse_retry_after(text, None, NOW, CAP).map(|d| d.as_secs())
    }

    #[test]
    fn retry_after_table() {
        let rows = [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("-5", Some(1)),
            ("-0", Some(1)),
            ("300", Some(300)),
            ("301", Some(300)),
            ("99999999999999999999999999", Some(300)),
            ("1e30", Some(300)),
            ("1e999", Some(300)),
            ("-1e999", Some(1)),
            ("2.5", Some(2)),
            ("NaN", None),
            ("inf", None),
            ("", None),
            ("  ", None),
            ("soon", None),
            ("0x10", None),
            ("7 s", None),
            ("e", None),
            ("--", None),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(1)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(1)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(300)),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994", None),
        ];
        for (text, expected) in rows {
            assert_eq!(secs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_receivers_own_date_cancels_its_skew() {
        let date = Some("Sun, 06 Nov 1994 09:49:37 GMT");
        let wait = parse_retry_after("Sun, 06 Nov 1994 09:49:47 GMT", date, NOW, CAP);
        assert_eq!(wait, Some(Duration::from_secs(10)));
        let headers = TimeHeaders {
            reset: Some("784115387"),
            date,
            ..Default::default()
        };
        assert_eq!(
            read_rate(&headers, NOW, CAP).reset,
            Some(Duration::from_secs(10))
        );
        let headers = TimeHeaders {
            reset: Some("784111787"),
            date: Some("never"),
            ..Default::default()
        };
        assert_eq!(
            read_rate(&headers, NOW, CAP).reset,
            Some(Duration::from_secs(10))
        );
    }

    #[test]
    fn a_reset_is_advice_only_when_the_window_is_used_up() {
        let advise = |status, limit, remaining, reset| {
            let headers = TimeHeaders {
                limit,
                remaining,
                reset,
                ..Default::default()
            };
            let rate = read_rate(&headers, NOW, CAP);
            read_advice(&headers, &rate, status, NOW, CAP).map(|a| a.wait.as_secs())
        };
        let at = Some("784111787");
        assert_eq!(advise(429, Some("600"), Some("0"), at), Some(10));
        assert_eq!(advise(429, None, None, at), Some(10));
        assert_eq!(advise(503, Some("600"), Some("12"), at), None);
        assert_eq!(advise(503, Some("600"), Some("0"), at), Some(10));
        assert_eq!(
            advise(429, Some("0"), Some("0"), at),
            None,
            "a concurrency 429 only hints"
        );
        assert_eq!(
            advise(429, Some("600"), Some("0"), Some("1")),
            Some(1),
            "the past counts as 1 s"
        );
        assert_eq!(
            advise(429, Some("600"), Some("0"), Some("1615304991643")),
            Some(300),
            "milliseconds"
        );
        assert_eq!(advise(429, Some("600"), Some("0"), Some("x")), None);
        assert_eq!(advise(429, None, None, None), None);
    }

    #[test]
    fn retry_after_comes_before_the_reset() {
        let headers = TimeHeaders {
            retry_after: Some("3"),
            reset: Some("784111787"),
            ..Default::default()
        };
        let rate = read_rate(&headers, NOW, CAP);
        let advice = read_advice(&headers, &rate, 429, NOW, CAP);
        assert_eq!(
            advice,
            Some(Advice {
                wait: Duration::from_secs(3),
                source: AdviceSource::RetryAfter
            })
        );
        let headers = TimeHeaders {
            retry_after: Some("soon"),
            ..headers
        };
        let advice = read_advice(&headers, &rate, 429, NOW, CAP);
        assert_eq!(advice.map(|a| a.source), Some(AdviceSource::RateLimitReset));
    }

    proptest! {
        #[test]
        fn any_text_gives_a_wait_within_bounds(text in ".{0,60}", date in ".{0,40}", now in any::<i64>()) {
            if let Some(wait) = parse_retry_after(&text, Some(&date), now, CAP) {
                prop_assert!(wait >= LEAST && wait <= CAP);
            }
        }

        #[test]
        fn any_number_gives_a_wait_within_bounds(number in any::<f64>(), now in any::<i64>()) {
            let text = number.to_string();
            let headers = TimeHeaders { reset: Some(&text), ..Default::default() };
            if let Some(reset) = read_rate(&headers, now, CAP).reset {
                prop_assert!(reset >= LEAST && reset <= CAP);
            }
        }
    }
}
