//! The Merkle tree of RFC 9162, section 2.1, over the hellos that one signature answers.

use sha2::{Digest, Sha256};

use crate::base::limits::HELLO_BATCH_MAX;

/// The tree over some leaves, all its levels kept, so that a path costs no hash.
pub struct Tree {
    /// From the leaves' hashes up to the root. An odd node at a level's end moves up unchanged,
    /// which is the tree of section 2.1.1.
    levels: Vec<Vec<[u8; 32]>>,
}

/// Index, size and number of siblings do not belong to one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadShape;

impl Tree {
    /// # Panics
    /// If there are no leaves or more than 256: callers batch within the limit.
    pub fn new(leaves: &[[u8; 32]]) -> Tree {
        assert!((1..=HELLO_BATCH_MAX).contains(&leaves.len()), "a batch holds 1 to 256 hellos");
        let mut levels = vec![leaves.iter().map(leaf_hash).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|l| l.len() > 1) {
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => node_hash(left, right),
                alone => alone[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Tree { levels }
    }

    pub fn root(&self) -> [u8; 32] {
        self.levels[self.levels.len() - 1][0]
    }

    /// How many leaves there are.
    pub fn size(&self) -> usize {
        self.levels[0].len()
    }

    /// The siblings from leaf `index` up to the root (section 2.1.3.1).
    ///
    /// # Panics
    /// If there is no such leaf.
    pub fn path(&self, index: usize) -> Vec<[u8; 32]> {
        assert!(index < self.size(), "the leaf is one of the tree's");
        let below_root = &self.levels[..self.levels.len() - 1];
        below_root
            .iter()
            .enumerate()
            .filter_map(|(height, l)| l.get((index >> height) ^ 1).copied())
            .collect()
    }
}

/// The root that follows from a leaf and its path, as in section 2.1.3.2. Equal to the signed root,
/// it proves that the leaf is in the tree.
pub fn root_from_path(
    leaf: &[u8; 32],
    index: usize,
    size: usize,
    siblings: &[[u8; 32]],
) -> Result<[u8; 32], BadShape> {
    check_shape(index, size, siblings.len())?;
    let (mut node, mut last) = (index, size - 1);
    let mut root = leaf_hash(leaf);
    for sibling in siblings {
        if node & 1 == 1 || node == last {
            root = node_hash(sibling, &root);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            root = node_hash(&root, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    Ok(root)
}

/// Says whether a path of `siblings` hashes is what leaf `index` of `size` has, before any hash is made.
fn check_shape(index: usize, size: usize, siblings: usize) -> Result<(), BadShape> {
    if !(1..=HELLO_BATCH_MAX).contains(&size) || index >= size {
        return Err(BadShape);
    }
    // At each level a leaf's ancestor has a sibling unless it is the last of an odd number.
    let (mut node, mut last, mut expected) = (index, size - 1, 0);
    while last > 0 {
        expected += usize::from(node ^ 1 <= last);
        (node, last) = (node >> 1, last >> 1);
    }
    if siblings == expected { Ok(()) } else { Err(BadShape) }
}

fn leaf_hash(leaf: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: usize) -> Vec<[u8; 32]> {
        (0..n).map(|i| Sha256::digest((i as u32).to_be_bytes()).into()).collect()
    }

    /// MTH of section 2.1.1, as it is written there.
    fn mth(d: &[[u8; 32]]) -> [u8; 32] {
        if let [only] = d {
            return leaf_hash(only);
        }
        let k = d.len().next_power_of_two() / 2;
        node_hash(&mth(&d[..k]), &mth(&d[k..]))
    }

    /// PATH of section 2.1.3.1, as it is written there.
    fn path(m: usize, d: &[[u8; 32]]) -> Vec<[u8; 32]> {
        if d.len() == 1 {
            return Vec::new();
        }
        let k = d.len().next_power_of_two() / 2;
        let (mut below, sibling) =
            if m < k { (path(m, &d[..k]), mth(&d[k..])) } else { (path(m - k, &d[k..]), mth(&d[..k])) };
        below.push(sibling);
        below
    }

    #[test]
    fn every_size_and_leaf_is_as_the_rfc_says() {
        for n in 1..=HELLO_BATCH_MAX {
            let d = leaves(n);
            let tree = Tree::new(&d);
            let root = tree.root();
            assert_eq!((root, tree.size()), (mth(&d), n));
            // All leaves of the small trees, the interesting ones of the large.
            for i in (0..n).filter(|i| n <= 40 || [0, 1, n / 2, n - 2, n - 1].contains(i)) {
                let siblings = tree.path(i);
                assert_eq!(siblings, path(i, &d), "leaf {i} of {n}");
                assert_eq!(root_from_path(&d[i], i, n, &siblings), Ok(root), "leaf {i} of {n}");
            }
        }
    }

    #[test]
    fn a_path_of_another_shape_is_refused() {
        let d = leaves(5);
        let tree = Tree::new(&d);
        let siblings = tree.path(2);
        for (index, size) in [(5, 5), (2, 0), (0, 0), (2, 257), (2, 65_535), (2, 2)] {
            assert_eq!(root_from_path(&d[2], index, size, &siblings), Err(BadShape), "{index} of {size}");
        }
        assert_eq!(root_from_path(&d[2], 2, 5, &siblings[1..]), Err(BadShape));
        assert_eq!(root_from_path(&d[2], 2, 5, &[&siblings[..], &[[0; 32]]].concat()), Err(BadShape));
        // The last of five has one sibling where the others have three.
        assert_eq!(tree.path(4).len(), 1);
        assert_eq!(root_from_path(&d[4], 4, 5, &siblings), Err(BadShape));
    }

    #[test]
    fn a_path_proves_its_own_leaf_and_place_alone() {
        let d = leaves(8);
        let tree = Tree::new(&d);
        for i in 0..8 {
            for j in 0..8 {
                let proved = root_from_path(&d[j], j, 8, &tree.path(i)) == Ok(tree.root());
                assert_eq!(proved, i == j);
                let moved = root_from_path(&d[i], j, 8, &tree.path(i)) == Ok(tree.root());
                assert_eq!(moved, i == j);
            }
            let mut bad = tree.path(i);
            bad[i % 3][0] ^= 1;
            assert_ne!(root_from_path(&d[i], i, 8, &bad), Ok(tree.root()));
        }
    }

    /// A node is no leaf: the prefix keeps a subtree's root from passing as a hello.
    #[test]
    fn an_inner_node_is_not_a_leaf() {
        let d = leaves(2);
        let inner = Tree::new(&d).root();
        assert_ne!(Tree::new(&[inner]).root(), inner);
    }
}
