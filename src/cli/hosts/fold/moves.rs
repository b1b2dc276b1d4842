//! How boxes of hosts are made shorter after they were joined.

use fastrand::Rng;

use crate::cli::hosts::fold::family::Family;
use crate::cli::hosts::fold::sets::{FREE, Sets};

impl Family<'_> {
    /// Divides some boxes, drawn by chance, into their hosts, and joins everything again in an order by chance. `work`
    /// is how many pairs of boxes may still be compared.
    pub(super) fn scatter(&self, boxes: &[u32], sets: &mut Sets, chance: &mut Rng, work: &mut usize) -> Vec<u32> {
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let count = boxes.len() / self.width();
        for row in boxes.chunks_exact(self.width()) {
            // Two of them, on average.
            if chance.usize(..count) < 2 {
                rows.extend(self.divided(row, sets));
            } else {
                rows.push(row.to_vec());
            }
        }
        chance.shuffle(&mut rows);
        self.join_next(rows, sets, work)
    }

    /// The hosts of a box.
    fn divided(&self, row: &[u32], sets: &mut Sets) -> Vec<Vec<u32>> {
        let mut rows = vec![row.to_vec()];
        for place in 0..self.places {
            let numbers = sets.numbers(row[place]).to_vec();
            let ids: Vec<u32> = numbers.into_iter().map(|number| sets.one(number)).collect();
            rows = rows
                .iter()
                .flat_map(|row| {
                    ids.iter().map(|id| {
                        let mut row = row.clone();
                        row[place] = *id;
                        row
                    })
                })
                .collect();
        }
        rows
    }

    /// Moves hosts from one box to another while that makes the text shorter: of `a[1-3,7]n1,a7n[2-3]`, the host a7n1
    /// goes to the second box. `work` is how many boxes and numbers may still be compared. Returns whether anything
    /// was moved.
    pub(super) fn shift(&self, boxes: &mut [u32], sets: &mut Sets, work: &mut usize) -> bool {
        let mut is_shorter = false;
        let mut slice = Vec::new();
        loop {
            let mut was_moved = false;
            for from in 0..boxes.len() / self.width() {
                for place in 0..self.places {
                    let mut nth = 0;
                    while sets.numbers(self.row(boxes, from)[place]).len() > nth.max(1) {
                        if *work == 0 {
                            return is_shorter;
                        }
                        // The hosts of the box that have this number.
                        let number = sets.numbers(self.row(boxes, from)[place])[nth];
                        slice.clear();
                        slice.extend_from_slice(self.row(boxes, from));
                        slice[place] = sets.one(number);
                        if self.shift_slice((from, place, &slice), boxes, sets, work) {
                            was_moved = true;
                        } else {
                            nth += 1;
                        }
                    }
                    was_moved |= self.shift_several((from, place), boxes, sets, work);
                }
            }
            if !was_moved {
                return is_shorter;
            }
            is_shorter = true;
        }
    }

    /// Moves slices that have several numbers at `place`: those that another box has there.
    fn shift_several(
        &self,
        (from, place): (usize, usize),
        boxes: &mut [u32],
        sets: &mut Sets,
        work: &mut usize,
    ) -> bool {
        let mut was_moved = false;
        for nth in 0..boxes.len() / self.width() {
            let (old, numbers) = (self.row(boxes, from)[place], self.row(boxes, nth)[place]);
            *work = work.saturating_sub(sets.numbers(old).len());
            if *work == 0 {
                break;
            }
            if sets.numbers(numbers).len() > 1 && sets.has_more_than(old, numbers) {
                let mut slice = self.row(boxes, from).to_vec();
                slice[place] = numbers;
                was_moved |= self.shift_slice((from, place, &slice), boxes, sets, work);
            }
        }
        was_moved
    }

    /// Moves a slice, which has some of the numbers at `place`, from its box to another if that makes the text shorter.
    fn shift_slice(
        &self,
        (from, place, slice): (usize, usize, &[u32]),
        boxes: &mut [u32],
        sets: &mut Sets,
        work: &mut usize,
    ) -> bool {
        let count = boxes.len() / self.width();
        *work = work.saturating_sub(count);
        let old = self.row(boxes, from)[place];
        for to in (0..count).filter(|to| *to != from) {
            let other = self.row(boxes, to);
            let mut differing = (0..self.places).filter(|place| other[*place] != slice[*place]);
            let (Some(at), None) = (differing.next(), differing.next()) else { continue };
            let before = sets.text_len(old) + sets.text_len(other[at]);
            *work = work.saturating_sub(sets.numbers(old).len() + sets.numbers(other[at]).len());
            let (rest, union) = (sets.without(old, slice[place]), sets.union(&[other[at], slice[at]]));
            if sets.text_len(rest) + sets.text_len(union) < before {
                boxes[from * self.width() + place] = rest;
                boxes[to * self.width() + at] = union;
                boxes[from * self.width() + self.places] = FREE;
                boxes[to * self.width() + self.places] = FREE;
                return true;
            }
        }
        false
    }
}
