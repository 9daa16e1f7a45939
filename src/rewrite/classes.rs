//! Classes of channels that can only be cut together, as a union-find over all tensors.

/// One channel, or several that are tied to each other.
pub(crate) type ChannelClass = usize;

/// A union-find of classes with the reason why some of them cannot be cut.
#[derive(Debug, Default)]
pub(crate) struct ChannelClasses {
    parent: Vec<ChannelClass>,
    blocked: Vec<Option<String>>,
    undroppable: Vec<Option<String>>,
}

impl ChannelClasses {
    /// A class of its own.
    pub fn fresh(&mut self) -> ChannelClass {
        self.parent.push(self.parent.len());
        self.blocked.push(None);
        self.undroppable.push(None);
        self.parent.len() - 1
    }

    /// How many were ever made; representatives are below this.
    pub fn len(&self) -> usize {
        self.parent.len()
    }

    /// The representative of a class.
    pub fn find(&self, mut u: ChannelClass) -> ChannelClass {
        while self.parent[u] != u {
            u = self.parent[u];
        }
        u
    }

    /// Ties two classes; the older representative stays, so results do not depend on the order of
    /// ties.
    pub fn tie(&mut self, a: ChannelClass, b: ChannelClass) {
        let (a, b) = (self.find(a), self.find(b));
        let (old, new) = (a.min(b), a.max(b));
        if old != new {
            self.parent[new] = old;
            for reasons in [&mut self.blocked, &mut self.undroppable] {
                let reason = reasons[new].take();
                if reasons[old].is_none() {
                    reasons[old] = reason;
                }
            }
        }
        self.compress(a);
        self.compress(b);
    }

    fn compress(&mut self, mut u: ChannelClass) {
        let root = self.find(u);
        while self.parent[u] != root {
            let next = self.parent[u];
            self.parent[u] = root;
            u = next;
        }
    }

    /// Says that a class cannot be cut; the first reason stays.
    pub fn block(&mut self, u: ChannelClass, reason: &str) {
        let u = self.find(u);
        if self.blocked[u].is_none() {
            self.blocked[u] = Some(reason.to_owned());
        }
    }

    /// Says that what a class holds cannot be dropped where it is read, though it may be cut where it
    /// is constant; the first reason stays.
    pub fn block_drop(&mut self, u: ChannelClass, reason: &str) {
        let u = self.find(u);
        if self.undroppable[u].is_none() {
            self.undroppable[u] = Some(reason.to_owned());
        }
    }

    /// Why what a class holds cannot be dropped.
    pub fn why_undroppable(&self, u: ChannelClass) -> Option<&str> {
        let dropped = || self.undroppable[self.find(u)].as_deref();
        self.why_blocked(u).or_else(dropped)
    }

    /// Why a class cannot be cut; `None` if nothing forbids it.
    pub fn why_blocked(&self, u: ChannelClass) -> Option<&str> {
        self.blocked[self.find(u)].as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_carry_blocks() {
        let mut u = ChannelClasses::default();
        let [a, b, c] = [u.fresh(), u.fresh(), u.fresh()];
        u.block(c, "output");
        u.tie(b, c);
        assert_eq!(u.why_blocked(a), None);
        u.tie(c, a);
        assert_eq!(u.why_blocked(a), Some("output"));
        assert_eq!(u.find(c), a);
    }
}
