//! Random draws: Zipf's law, normal and exponential distributions, weighted choice.

use fastrand::Rng;

/// Ranks below a count, the first the most likely: P(k) ∝ 1/(k+1)^s, exactly.
#[derive(Debug, Clone)]
pub struct Zipf {
    /// The sums of the weights up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    /// Creates the distribution; a `count` of 0 is taken as 1.
    #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
    pub fn new(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count.max(1)).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self {
            sums: sums.collect(),
        }
    }

    pub fn draw(&self, rng: &mut Rng) -> usize {
        let total = self.sums.last().copied().unwrap_or(1.0);
        let at = rng.f64() * total;
        let rank = self.sums.partition_point(|sum| *sum <= at);
        rank.min(self.sums.len() - 1)
    }
}

/// Draws an index by weight.
pub fn weighted(rng: &mut Rng, weights: impl IntoIterator<Item = f64> + Clone) -> usize {
    let total: f64 = weights.clone().into_iter().sum();
    let mut rest = rng.f64() * total;
    let mut last = 0;
    for (at, weight) in weights.into_iter().enumerate() {
        last = at;
        if rest < weight {
            break;
        }
        rest -= weight;
    }
    last
}

pub fn chance(rng: &mut Rng, share: f64) -> bool {
    rng.f64() < share
}

/// Draws from the standard normal distribution, by Box and Muller.
pub fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Draws from the exponential distribution with this mean.
pub fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

/// Draws how often something happens that is expected `mean` times (Poisson; for small means).
pub fn poisson(rng: &mut Rng, mean: f64) -> u32 {
    let (limit, mut product, mut count) = ((-mean).exp(), rng.f64(), 0);
    while product > limit && count < 1000 {
        product *= rng.f64();
        count += 1;
    }
    count
}

/// Draws a number from 1, where each further one has the probability `more`.
pub fn geometric(rng: &mut Rng, more: f64) -> u32 {
    let mut count = 1;
    while count < 200 && chance(rng, more) {
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_fall_as_the_law_says() {
        let (zipf, mut rng) = (Zipf::new(50, 0.9), Rng::with_seed(3));
        let mut counts = [0_u32; 50];
        (0..200_000).for_each(|_| counts[zipf.draw(&mut rng)] += 1);
        let sum: f64 = (1..=50).map(|k| f64::from(k).powf(-0.9)).sum();
        for (rank, count) in counts.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
            let expected = 200_000.0 * ((rank + 1) as f64).powf(-0.9) / sum;
            let deviation = (f64::from(*count) - expected).abs() / expected.sqrt();
            assert!(deviation < 4.5, "rank {rank}: {count}, expected {expected}");
        }
    }

    #[track_caller]
    fn mean(want: f64, mut draw: impl FnMut(&mut Rng) -> f64) {
        let mut rng = Rng::with_seed(11);
        let got = (0..100_000).map(|_| draw(&mut rng)).sum::<f64>() / 100_000.0;
        assert!(
            (got - want).abs() < 0.02 * want.max(1.0),
            "{got} for {want}"
        );
    }

    #[test]
    fn means_are_those_asked_for() {
        mean(0.0, normal);
        mean(50.0, |rng| exponential(rng, 50.0));
        mean(0.3, |rng| f64::from(poisson(rng, 0.3)));
        mean(7.0, |rng| f64::from(poisson(rng, 7.0)));
        mean(5.0, |rng| f64::from(geometric(rng, 0.8)));
        mean(11.0 / 6.0, |rng| {
            f64::from(u8::try_from(weighted(rng, [1.0, 2.0, 0.0, 3.0])).unwrap())
        });
    }
}
