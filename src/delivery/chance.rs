//! Random numbers for the pure parts, which take them as arguments.

use aws_lc_rs::rand;

/// A uniform random number in `[0, 1)`, for jitter. If the system has no random numbers it is 0.5: jitter
/// is no security matter.
#[must_use]
pub fn uniform() -> f64 {
    let mut bytes = [0u8; 8];
    if rand::fill(&mut bytes).is_err() {
        return 0.5;
    }
    // The upper 53 bits are what an f64 can hold exactly.
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::uniform;

    #[test]
    fn stays_in_its_range_and_varies() {
        let draws: Vec<f64> = (0..1000).map(|_| uniform()).collect();
        assert!(draws.iter().all(|d| (0.0..1.0).contains(d)));
        assert!(draws.iter().any(|d| *d < 0.5) && draws.iter().any(|d| *d >= 0.5));
    }
}
