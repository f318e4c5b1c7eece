//! Pure: what is asked and how large the object is -> the ranges to request. No I/O, no clock.

use std::ops::Range;

/// When to split a read, and into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Reads of a known length, at least this long, travel as several ranges.
    pub split_bytes: u64,
    /// The length of one range.
    pub part_bytes: u64,
}

impl Split {
    /// How much to ask for when the size is unknown: the first part brings the size with it.
    pub fn probe(&self, others_in_flight: bool) -> Option<u64> {
        // With enough requests under way a second one for the same object gains nothing.
        (!others_in_flight).then_some(self.part_bytes)
    }

    /// Cuts `range` into consecutive parts that cover it; one part unless splitting helps.
    pub fn parts(&self, range: Range<u64>, others_in_flight: bool) -> Vec<Range<u64>> {
        let length = range.end.saturating_sub(range.start);
        if others_in_flight || length < self.split_bytes || length < 2 * self.part_bytes {
            return std::iter::once(range).collect();
        }
        self.cut(range)
    }

    /// Consecutive parts that cover `range`, however long it is.
    pub fn cut(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let length = range.end.saturating_sub(range.start);
        let mut parts = Vec::with_capacity((length / self.part_bytes + 1) as usize);
        let mut start = range.start;
        while start < range.end {
            // A remainder of less than half a part rides with its neighbour: one request less.
            let end = if range.end - start < self.part_bytes + self.part_bytes / 2 {
                range.end
            } else {
                start + self.part_bytes
            };
            parts.push(start..end);
            start = end;
        }
        parts
    }
}

/// Several asked ranges read by one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub range: Range<u64>,
    /// Indices of the asked ranges that lie inside, in the order asked.
    pub asked: Vec<usize>,
}

/// Joins ranges whose gap is at most `gap` bytes (`None`: none are joined), in order of position.
pub fn join(asked: &[Range<u64>], gap: Option<u64>) -> Vec<Joined> {
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by_key(|i| (asked[*i].start, asked[*i].end));
    let mut joined: Vec<Joined> = Vec::new();
    for index in order {
        let next = &asked[index];
        match (joined.last_mut(), gap) {
            (Some(last), Some(gap)) if next.start <= last.range.end.saturating_add(gap) => {
                last.range.end = last.range.end.max(next.end);
                last.asked.push(index);
            }
            _ => joined.push(Joined {
                range: next.clone(),
                asked: vec![index],
            }),
        }
    }
    joined
}

/// The size of the parts of a multipart upload: `preferred`, or larger where 10 000 parts
/// (the limit of S3, "Amazon S3 multipart upload limits") would not hold `total`.
pub fn upload_part(total: Option<u64>, preferred: u64) -> u64 {
    const MOST_PARTS: u64 = 10_000;
    const MIB: u64 = 1 << 20;
    let least = total.map_or(0, |total| total.div_ceil(MOST_PARTS).div_ceil(MIB) * MIB);
    preferred.max(least)
}

/// The size of part number `index` (from 0) of an upload of unknown length: parts grow as it goes on,
/// so that small streams use little memory and 10 000 parts hold 5 TiB. No part is above 5 GiB.
pub fn growing_part(index: u64, preferred: u64) -> u64 {
    const MOST: u64 = 5 << 30;
    (preferred << (index / 1000).min(7)).min(MOST.max(preferred))
}

/// The positions of two `(address, length)` stretches that share a byte.
pub fn overlapping(regions: &[(usize, usize)]) -> Option<(usize, usize)> {
    let mut order: Vec<usize> = (0..regions.len()).filter(|i| regions[*i].1 > 0).collect();
    order.sort_unstable_by_key(|i| regions[*i]);
    order.windows(2).find_map(|pair| {
        let (first, second) = (pair[0], pair[1]);
        let (start, len) = regions[first];
        (start + len > regions[second].0).then(|| (first.min(second), first.max(second)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPLIT: Split = Split {
        split_bytes: 16,
        part_bytes: 8,
    };

    #[test]
    fn parts_cover_the_range_once_and_in_order() {
        for length in 0..200 {
            let parts = SPLIT.parts(5..5 + length, false);
            assert_eq!(parts[0].start, 5);
            assert_eq!(parts[parts.len() - 1].end, 5 + length);
            assert!(parts.windows(2).all(|w| w[0].end == w[1].start));
            assert!(
                parts
                    .iter()
                    .all(|p| p.end - p.start < 12 || parts.len() == 1)
            );
        }
    }

    #[test]
    fn a_table_of_plans() {
        let lengths = |n| -> Vec<u64> {
            SPLIT
                .parts(0..n, false)
                .iter()
                .map(|p| p.end - p.start)
                .collect()
        };
        assert_eq!(lengths(0), [0]);
        assert_eq!(lengths(15), [15]);
        assert_eq!(lengths(16), [8, 8]);
        assert_eq!(lengths(19), [8, 11]);
        assert_eq!(lengths(20), [8, 8, 4]);
    }

    #[test]
    fn nothing_is_split_while_other_requests_are_in_flight() {
        assert_eq!(SPLIT.parts(0..1000, true).len(), 1);
        assert_eq!(SPLIT.probe(true), None);
        assert_eq!(SPLIT.probe(false), Some(8));
    }

    #[test]
    fn ranges_are_joined_only_across_small_gaps() {
        let asked = [100..110, 0..10, 12..20, 5..8];
        let joined = join(&asked, Some(2));
        assert_eq!(
            joined,
            [
                Joined {
                    range: 0..20,
                    asked: vec![1, 3, 2]
                },
                Joined {
                    range: 100..110,
                    asked: vec![0]
                }
            ]
        );
        assert_eq!(join(&asked, None).len(), 4);
    }

    #[test]
    fn an_upload_never_needs_more_than_ten_thousand_parts() {
        let tib = 1u64 << 40;
        assert_eq!(upload_part(Some(1 << 30), 16 << 20), 16 << 20);
        assert!((5 * tib).div_ceil(upload_part(Some(5 * tib), 16 << 20)) <= 10_000);
        let total: u64 = (0..10_000).map(|i| growing_part(i, 16 << 20)).sum();
        assert!(total > 5 * tib);
    }

    #[test]
    fn stretches_that_only_touch_do_not_overlap() {
        assert_eq!(overlapping(&[]), None);
        assert_eq!(
            overlapping(&[(10, 5), (0, 10), (15, 1), (12, 0), (12, 0)]),
            None
        );
    }

    #[test]
    fn stretches_that_share_a_byte_are_named_by_position() {
        assert_eq!(overlapping(&[(100, 1), (10, 5), (0, 11)]), Some((1, 2)));
        assert_eq!(overlapping(&[(7, 3), (7, 3)]), Some((0, 1)));
        assert_eq!(overlapping(&[(0, 100), (500, 1), (50, 1)]), Some((0, 2)));
    }
}
