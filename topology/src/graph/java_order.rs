//! The two orders of Java's collections that show in a description: a hash set's, and that of a tree set whose elements change
//! while it grows.

fn string_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

/// The order in which Java's `HashSet` iterates over these, inserted in this order.
pub fn hash_order<T>(items: impl IntoIterator<Item = T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    hash_order_with_capacity(16, items, name)
}

/// The same, of a set with an initial capacity: smaller sets have other orders.
pub fn hash_order_with_capacity<T>(capacity: usize, items: impl IntoIterator<Item = T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    let mut buckets = capacity.next_power_of_two();
    while items.len() > buckets * 3 / 4 {
        buckets *= 2;
    }
    items.sort_by_key(|item| {
        let hash = string_hash(name(item));
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    });
    items
}

/// A red-black tree in which each insertion compares by what holds at that moment.
#[derive(Default)]
pub struct Tree {
    nodes: Vec<Node>,
    root: Option<usize>,
}

struct Node {
    item: usize,
    red: bool,
    parent: Option<usize>,
    child: [Option<usize>; 2],
}

impl Tree {
    /// Inserts `item`; `less(a, b)` says whether `a` goes before `b` now. An item that is there already stays.
    pub fn insert(&mut self, item: usize, less: impl Fn(usize, usize) -> bool) {
        let (mut parent, mut side, mut at) = (None, 0, self.root);
        while let Some(node) = at {
            if self.nodes[node].item == item {
                return;
            }
            side = usize::from(!less(item, self.nodes[node].item));
            (parent, at) = (at, self.nodes[node].child[side]);
        }
        let new = self.nodes.len();
        self.nodes.push(Node { item, red: true, parent, child: [None, None] });
        match parent {
            Some(parent) => self.nodes[parent].child[side] = Some(new),
            None => self.root = Some(new),
        }
        self.rebalance(new);
    }

    /// The items, first to last.
    pub fn items(&self) -> Vec<usize> {
        let (mut items, mut stack, mut at) = (vec![], vec![], self.root);
        while at.is_some() || !stack.is_empty() {
            while let Some(node) = at {
                stack.push(node);
                at = self.nodes[node].child[0];
            }
            if let Some(node) = stack.pop() {
                items.push(self.nodes[node].item);
                at = self.nodes[node].child[1];
            }
        }
        items
    }

    fn rebalance(&mut self, mut at: usize) {
        while let Some(mut parent) = self.nodes[at].parent.filter(|&p| self.nodes[p].red) {
            let Some(grandparent) = self.nodes[parent].parent else { break };
            let side = usize::from(self.nodes[grandparent].child[1] == Some(parent));
            match self.nodes[grandparent].child[1 - side].filter(|&uncle| self.nodes[uncle].red) {
                Some(uncle) => {
                    self.nodes[parent].red = false;
                    self.nodes[uncle].red = false;
                    self.nodes[grandparent].red = true;
                    at = grandparent;
                }
                None => {
                    if self.nodes[parent].child[1 - side] == Some(at) {
                        self.rotate(parent, side);
                        parent = at;
                    }
                    self.nodes[parent].red = false;
                    self.nodes[grandparent].red = true;
                    self.rotate(grandparent, 1 - side);
                    break;
                }
            }
        }
        if let Some(root) = self.root {
            self.nodes[root].red = false;
        }
    }

    /// Moves `at` down to `side`; its child on the other side takes its place.
    fn rotate(&mut self, at: usize, side: usize) {
        let Some(up) = self.nodes[at].child[1 - side] else { return };
        let (inner, parent) = (self.nodes[up].child[side], self.nodes[at].parent);
        self.nodes[at].child[1 - side] = inner;
        if let Some(inner) = inner {
            self.nodes[inner].parent = Some(at);
        }
        self.nodes[up].parent = parent;
        match parent {
            Some(parent) => {
                let below = usize::from(self.nodes[parent].child[1] == Some(at));
                self.nodes[parent].child[below] = Some(up);
            }
            None => self.root = Some(up),
        }
        self.nodes[up].child[side] = Some(at);
        self.nodes[at].parent = Some(up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_fixed_items_is_sorted() {
        let mut tree = Tree::default();
        for item in [5, 3, 8, 1, 4, 7, 9, 2, 6, 0, 5] {
            tree.insert(item, |a, b| a < b);
        }
        assert_eq!(tree.items(), (0..10).collect::<Vec<_>>());
    }
}
