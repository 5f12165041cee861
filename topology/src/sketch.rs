//! What a member may have, in a few bits beside the list of members: a service may have a member in
//! each of a hundred clusters, and a change concerns few of them.

use crate::index::{Index, Member, Slice};
use crate::intern::Id;
use crate::name::NetworkId;

/// May claim more than there is, never less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sketch {
    /// Two bits for each address.
    addresses: [u64; 2],
    networks: u64,
}

/// Beyond this many addresses a sketch says yes to each.
const ADDRESSES_MAX: usize = 32;

impl Sketch {
    pub(crate) fn may_have(&self, address: [u8; 16]) -> bool {
        let bits = address_bits(address);
        self.addresses[0] & bits[0] != 0 && self.addresses[1] & bits[1] != 0
    }

    pub(crate) fn may_be_on(&self, network: Id<NetworkId>) -> bool {
        self.networks & network_bit(network) != 0
    }
}

impl Index {
    /// To be drawn anew when the member's endpoints or their places change.
    pub(crate) fn draw(&mut self, member: Id<Member>) {
        let known = &self.members[member];
        let slices = known.slices.iter().map(|slice| &self.slices[*slice]);
        let said = known.summary.iter().flat_map(|summary| &summary.groups);
        let networks = known.rows.iter().map(|row| row.at.network);
        let networks = networks.chain(said.map(|group| self.said_at(group.place).network));
        let sketch = Sketch {
            addresses: sketch_addresses(slices),
            networks: networks.fold(0, |bits, network| bits | network_bit(network)),
        };
        let service = &mut self.services[known.service];
        if let Some(place) = service.members.iter().position(|(_, other)| *other == member) {
            service.sketches[place] = sketch;
        }
    }
}

fn sketch_addresses<'s>(slices: impl Iterator<Item = &'s Slice>) -> [u64; 2] {
    let mut addresses = [0; 2];
    let mut count = 0;
    for slice in slices {
        count += slice.endpoints.len();
        if count > ADDRESSES_MAX {
            return [u64::MAX; 2];
        }
        for endpoint in &slice.endpoints {
            let bits = address_bits(endpoint.address);
            addresses[0] |= bits[0];
            addresses[1] |= bits[1];
        }
    }
    addresses
}

/// Fibonacci hashing: the upper bits of a product with the golden ratio.
fn address_bits(address: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = address;
    let mixed =
        u64::from_be_bytes([a, b, c, d, e, f, g, h]).rotate_left(23) ^ u64::from_be_bytes(rest);
    let product = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [1 << (product >> 58), 1 << (product >> 52 & 63)]
}

fn network_bit(network: Id<NetworkId>) -> u64 {
    1 << (network.index() % 64)
}
