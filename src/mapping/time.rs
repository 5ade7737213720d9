//! Event times: s, ms, RFC 3339 or FILETIME → whole seconds, never the clock (CONTRACTS §1.3).

use serde_json::Value;

use super::error::{Fault, MapReason};
use super::spec::TimeUnit;
use crate::set::Timestamp;

/// Seconds from 1601-01-01 (FILETIME's zero) to 1970-01-01: 369 years with 89 leap days.
const FILETIME_EPOCH: i64 = 11_644_473_600;

/// Below this a bare number is seconds (until the year 5138), from here on milliseconds
/// (from 1973 on).
const FIRST_MILLIS: f64 = 1e11;

/// From here on a bare number is FILETIME (from 1632 on); as milliseconds it would be beyond the
/// year 300,000.
const FIRST_FILETIME: f64 = 1e16;

/// Reads a time.
///
/// # Errors
/// `BadTime` when it cannot be read.
pub(super) fn read(value: &Value, unit: TimeUnit, origin: &str) -> Result<Timestamp, Fault> {
    let bad = |what: &str| Fault::new(MapReason::BadTime, format!("{origin} {what}"));
    let number = match value {
        Value::Number(number) => number
            .as_i64()
            .map(Count::Whole)
            .or_else(|| number.as_f64().map(Count::Part)),
        Value::String(text) => {
            let text = text.trim();
            match (text.parse::<i64>(), unit) {
                (Ok(whole), _) if unit != TimeUnit::Rfc3339 => Some(Count::Whole(whole)),
                (_, TimeUnit::Auto | TimeUnit::Rfc3339) => {
                    return rfc3339(text).ok_or_else(|| bad("is no RFC 3339 time and no number"));
                }
                _ => text.parse::<f64>().ok().map(Count::Part),
            }
        }
        other => {
            return Err(Fault::wrong_type(origin, other, "a time").in_field(MapReason::BadTime));
        }
    };
    number
        .and_then(|number| number.seconds(unit))
        .map(Timestamp::from_secs)
        .ok_or_else(|| bad("is no time in its unit"))
}

/// Refuses times in the far future and past: they are almost always a wrong unit.
///
/// # Errors
/// `TimeOutOfRange`.
pub(super) fn in_range(
    time: Timestamp,
    now: Timestamp,
    max_future: u32,
    max_past: u32,
    origin: &str,
) -> Result<Timestamp, Fault> {
    let ahead = time.as_secs().saturating_sub(now.as_secs());
    let text = if ahead > i64::from(max_future) {
        format!("{origin} is more than {max_future} s in the future: wrong unit?")
    } else if ahead < -i64::from(max_past) {
        format!("{origin} is more than {max_past} s in the past: wrong unit?")
    } else {
        return Ok(time);
    };
    Err(Fault::new(MapReason::TimeOutOfRange, text))
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
    i64::try_from(seconds).ok().map(Timestamp::from_secs)
}

/// A number of some unit.
#[derive(Clone, Copy)]
enum Count {
    Whole(i64),
    Part(f64),
}

impl Count {
    /// Whole seconds since 1970, rounded down.
    fn seconds(self, unit: TimeUnit) -> Option<i64> {
        let (per_second, epoch) = match unit {
            TimeUnit::S => (1, 0),
            TimeUnit::Ms => (1_000, 0),
            TimeUnit::Us => (1_000_000, 0),
            TimeUnit::Ns => (1_000_000_000, 0),
            TimeUnit::Filetime => (10_000_000, FILETIME_EPOCH),
            TimeUnit::Rfc3339 => return None,
            TimeUnit::Auto => return self.seconds(self.guess()),
        };
        let seconds = match self {
            Count::Whole(count) => count.div_euclid(per_second),
            #[allow(
                clippy::cast_precision_loss,
                reason = "powers of ten up to 10^9 are exact"
            )]
            Count::Part(count) => whole((count / per_second as f64).floor())?,
        };
        seconds.checked_sub(epoch)
    }

    fn guess(self) -> TimeUnit {
        #[allow(clippy::cast_precision_loss, reason = "only the magnitude counts")]
        let magnitude = match self {
            Count::Whole(count) => count as f64,
            Count::Part(count) => count,
        }
        .abs();
        if magnitude < FIRST_MILLIS {
            TimeUnit::S
        } else if magnitude < FIRST_FILETIME {
            TimeUnit::Ms
        } else {
            TimeUnit::Filetime
        }
    }
}

/// A float without fraction as an integer; `None` beyond ±2^53, where it would not be exact.
fn whole(count: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "within ±2^53 and without fraction"
    )]
    (count.abs() <= EXACT).then_some(count as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const T: i64 = 1_750_980_770;

    fn secs(value: &Value, unit: TimeUnit) -> Option<i64> {
        read(value, unit, "$.t").ok().map(Timestamp::as_secs)
    }

    #[test]
    fn one_instant_in_every_spelling() {
        for (value, unit) in [
            (json!(T), TimeUnit::S),
            (json!(1_750_980_770_643_i64), TimeUnit::Ms),
            (json!(1_750_980_770_643_999_i64), TimeUnit::Us),
            (json!(1_750_980_770_643_999_999_i64), TimeUnit::Ns),
            (json!(133_954_543_706_430_000_i64), TimeUnit::Filetime),
            (json!("2025-06-26T23:32:50Z"), TimeUnit::Rfc3339),
            (json!("2025-06-27T01:32:50.643+02:00"), TimeUnit::Rfc3339),
            (json!("1750980770"), TimeUnit::S),
            (json!("1750980770643"), TimeUnit::Ms),
            (json!(1_750_980_770.93), TimeUnit::S),
        ] {
            assert_eq!(secs(&value, unit), Some(T), "{value}");
            if !matches!(unit, TimeUnit::Us | TimeUnit::Ns) {
                assert_eq!(secs(&value, TimeUnit::Auto), Some(T), "{value} guessed");
            }
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for value in [
            json!("yesterday"),
            json!("2025-06-26"),
            json!("2025-06-26T23:32:50"),
            json!(true),
            json!([T]),
            json!(""),
        ] {
            let fault = read(&value, TimeUnit::Auto, "$.t").expect_err("no time");
            assert_eq!(fault.reason, MapReason::BadTime, "{value}");
            assert!(fault.text.starts_with("$.t "), "{}", fault.text);
        }
        assert_eq!(secs(&json!(T), TimeUnit::Rfc3339), None);
        assert_eq!(secs(&json!("2025-06-26T23:32:50Z"), TimeUnit::Ms), None);
        assert_eq!(secs(&json!(1e300), TimeUnit::S), None);
    }

    #[test]
    fn far_future_and_past_are_refused() {
        let now = Timestamp::from_secs(T);
        let range = |t: i64| {
            in_range(Timestamp::from_secs(t), now, 86_400, 315_360_000, "$.t").map_err(|f| f.reason)
        };
        assert!(range(T + 86_400).is_ok());
        assert!(range(T - 315_360_000).is_ok());
        assert_eq!(range(T + 86_401), Err(MapReason::TimeOutOfRange));
        assert_eq!(range(T - 315_360_001), Err(MapReason::TimeOutOfRange));
        assert_eq!(range(i64::MAX), Err(MapReason::TimeOutOfRange));
        assert_eq!(range(i64::MIN), Err(MapReason::TimeOutOfRange));
        // Microseconds that somebody calls milliseconds: the year 57456.
        let far = read(&json!(1_750_980_770_643_000_i64), TimeUnit::Auto, "$.t").expect("a time");
        assert_eq!(far.as_secs(), 1_750_980_770_643);
        assert_eq!(range(far.as_secs()), Err(MapReason::TimeOutOfRange));
    }

    proptest! {
        #[test]
        fn any_number_is_a_time_or_refused(n in any::<i64>(), f in any::<f64>()) {
            for unit in [TimeUnit::Auto, TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns, TimeUnit::Filetime] {
                let _ = secs(&json!(n), unit);
                let _ = secs(&json!(f), unit);
                let _ = secs(&json!(f.to_string()), unit);
            }
        }

        #[test]
        fn milliseconds_round_down(t in 1_000_000_000_i64..4_000_000_000, ms in 0_i64..1000) {
            prop_assert_eq!(secs(&json!(t * 1000 + ms), TimeUnit::Auto), Some(t));
        }
    }
}
