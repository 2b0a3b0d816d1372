//! The RSA budget: how much of the loop's time handshakes may take.
//!
//! A token bucket, refilled by the time that has passed. What is asked for beyond its capacity is
//! granted when the bucket is full and leaves a debt, so that an RSA-4096 signature waits
//! longer but not for ever.

use std::ops::{Add, Mul};

use crate::base::Mono;
use crate::base::limits::{RSA_BUDGET_CAPACITY, RSA_BUDGET_PER_MS, RSA_PUBLIC_COST, RSA_SIGN_COST};

/// What an RSA operation costs, in thousandths of an RSA-2048 public operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RsaCost(u64);

/// The bucket. Starts full.
#[derive(Debug)]
pub struct RsaBudget {
    /// Thousandths of a unit; below zero is a debt.
    level: i64,
    refilled: Mono,
}

const MILLI: u64 = 1000;
const CAPACITY: i64 = RSA_BUDGET_CAPACITY as i64 * MILLI as i64;
/// Thousandths of a unit for each microsecond: the same number as units for each millisecond.
const REFILL: u64 = RSA_BUDGET_PER_MS as u64;

impl RsaCost {
    /// Verifying a signature or sealing an envelope: grows with the square of the size.
    pub fn public(bits: usize) -> RsaCost {
        RsaCost(u64::from(RSA_PUBLIC_COST) * MILLI * (bits as u64).pow(2) / 2048_u64.pow(2))
    }

    /// Signing, or opening an envelope: grows with the cube of the size.
    pub fn private(bits: usize) -> RsaCost {
        RsaCost(u64::from(RSA_SIGN_COST) * MILLI * (bits as u64).pow(3) / 2048_u64.pow(3))
    }
}

impl RsaBudget {
    pub fn new(now: Mono) -> RsaBudget {
        RsaBudget { level: CAPACITY, refilled: now }
    }

    /// Takes the time that has passed into account.
    pub fn refill(&mut self, now: Mono) {
        let micros = now.0.saturating_sub(self.refilled.0);
        let gained = i64::try_from(micros.saturating_mul(REFILL)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(gained).min(CAPACITY);
        self.refilled = self.refilled.max(now);
    }

    /// Whether `cost` can be had now; if so, it is paid.
    pub fn try_take(&mut self, cost: RsaCost) -> bool {
        let affordable = self.level >= cost.threshold();
        if affordable {
            self.charge(cost);
        }
        affordable
    }

    /// Pays for what is done whatever the level, as the check of a signature that a frame brings.
    pub fn charge(&mut self, cost: RsaCost) {
        self.level = self.level.saturating_sub(i64::try_from(cost.0).unwrap_or(i64::MAX));
    }

    /// When [`RsaBudget::try_take`] will grant `cost`, if nothing else is taken until then.
    pub fn affordable_at(&self, cost: RsaCost) -> Mono {
        let missing = cost.threshold().saturating_sub(self.level).max(0) as u64;
        Mono(self.refilled.0.saturating_add(missing.div_ceil(REFILL)))
    }
}

impl RsaCost {
    /// What is left to pay when `paid` was paid before.
    pub fn beyond(self, paid: RsaCost) -> RsaCost {
        RsaCost(self.0.saturating_sub(paid.0))
    }

    /// The level from which the cost is granted: a full bucket is always enough.
    fn threshold(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX).min(CAPACITY)
    }
}

impl Add for RsaCost {
    type Output = RsaCost;

    fn add(self, rhs: RsaCost) -> RsaCost {
        RsaCost(self.0.saturating_add(rhs.0))
    }
}

impl Mul<u32> for RsaCost {
    type Output = RsaCost;

    fn mul(self, times: u32) -> RsaCost {
        RsaCost(self.0.saturating_mul(times.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_scale_with_the_key() {
        assert_eq!(RsaCost::public(2048), RsaCost(1_000));
        assert_eq!(RsaCost::public(4096), RsaCost(4_000));
        assert_eq!(RsaCost::private(2048), RsaCost(25_000));
        assert_eq!(RsaCost::private(4096), RsaCost(200_000));
        assert_eq!(RsaCost::private(3072), RsaCost(84_375));
        assert_eq!(RsaCost::public(2048) * 2 + RsaCost::private(2048), RsaCost(27_000));
        assert_eq!(RsaCost::public(4096).beyond(RsaCost::public(2048)), RsaCost(3_000));
        assert_eq!(RsaCost::public(2048).beyond(RsaCost::public(4096)), RsaCost(0));
    }

    #[test]
    fn the_bucket_empties_and_fills_with_time() {
        let mut budget = RsaBudget::new(Mono(1_000));
        let sign = RsaCost::private(2048);
        assert!(budget.try_take(sign) && budget.try_take(sign));
        // 10 of 60 units are left.
        assert!(!budget.try_take(sign));
        assert_eq!(budget.affordable_at(sign), Mono(6_000));
        budget.refill(Mono(5_999));
        assert!(!budget.try_take(sign));
        budget.refill(Mono(6_000));
        assert!(budget.try_take(sign));
        assert!(!budget.try_take(RsaCost::public(2048)));
    }

    #[test]
    fn what_exceeds_the_capacity_waits_for_a_full_bucket_and_leaves_a_debt() {
        let mut budget = RsaBudget::new(Mono(0));
        let sign = RsaCost::private(4096);
        assert!(budget.try_take(sign));
        assert_eq!(budget.level, CAPACITY - 200_000);
        assert!(!budget.try_take(RsaCost::public(2048)));
        let again = budget.affordable_at(sign);
        budget.refill(Mono(again.0 - 1));
        assert!(!budget.try_take(sign));
        budget.refill(again);
        assert!(budget.try_take(sign));
    }

    #[test]
    fn it_never_overfills_and_a_clock_that_stands_gives_nothing() {
        let mut budget = RsaBudget::new(Mono(10));
        budget.refill(Mono(u64::MAX));
        assert_eq!(budget.level, CAPACITY);
        budget.charge(RsaCost(u64::MAX));
        budget.refill(Mono(5));
        assert_eq!(budget.refilled, Mono(u64::MAX));
        assert!(budget.level < 0);
    }

    /// Over any long time the work granted is at most the refill and one bucket.
    #[test]
    fn the_rate_holds() {
        let mut budget = RsaBudget::new(Mono(0));
        let mut granted = 0;
        for ms in 0..1000 {
            budget.refill(Mono(ms * 1000));
            while budget.try_take(RsaCost::public(2048)) {
                granted += 1;
            }
        }
        let expected = RSA_BUDGET_CAPACITY + 999 * RSA_BUDGET_PER_MS;
        assert_eq!(granted, expected);
    }
}
