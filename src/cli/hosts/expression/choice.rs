//! Which hosts a command line chooses: expressions, what is left out, and how many are picked.

use fastrand::Rng;

/// What the options about hosts say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The hosts of all of these.
    pub(crate) expressions: Vec<String>,
    /// Without the hosts of these.
    pub(crate) excluded: Vec<String>,
    /// This many of them, by chance.
    pub(crate) pick: Option<usize>,
}

impl<S: AsRef<str>, const N: usize> From<&[S; N]> for Choice {
    fn from(expressions: &[S; N]) -> Self {
        expressions.as_slice().into()
    }
}

impl<S: AsRef<str>> From<&[S]> for Choice {
    fn from(expressions: &[S]) -> Self {
        let expressions = expressions.iter().map(|text| text.as_ref().to_owned()).collect();
        Self { expressions, ..Self::default() }
    }
}

impl Choice {
    /// The expressions, to be shown.
    pub(super) fn whole(&self) -> String {
        self.expressions.join(",")
    }
}

/// Indexes of `most` of `count` things, in their order.
pub(super) fn picked(count: usize, most: usize, chance: &mut Rng) -> Vec<usize> {
    let mut picked = chance.choose_multiple(0..count, most);
    picked.sort_unstable();
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_picked_once_and_equally_often() {
        let mut random = Rng::with_seed(7);
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            let picked = picked(5, 2, &mut random);
            assert!(picked.len() == 2 && picked[0] < picked[1]);
            picked.iter().for_each(|nth| counts[*nth] += 1);
        }
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
        assert_eq!(picked(3, 9, &mut random), [0, 1, 2]);
        assert!(picked(0, 9, &mut random).is_empty());
    }
}
