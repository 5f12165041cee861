//! How near an endpoint is to an audience.

use crate::name::Locality;
use crate::view::{PRIORITY_ELSEWHERE, PRIORITY_REGION, PRIORITY_ZONE};

/// An audience that knows less tells less apart: without a region everything is in its zone,
/// without a zone everything in its region is. An endpoint's zone without a region (its node is
/// not known yet) is taken at its word; an endpoint that knows nothing is elsewhere.
pub(crate) fn priority(audience: &Locality, endpoint: &Locality) -> u8 {
    if audience.region.is_empty() {
        return PRIORITY_ZONE;
    }
    let same_zone = !audience.zone.is_empty() && audience.zone == endpoint.zone;
    if endpoint.region.is_empty() && same_zone {
        return PRIORITY_ZONE;
    }
    if audience.region != endpoint.region {
        return PRIORITY_ELSEWHERE;
    }
    if same_zone || audience.zone.is_empty() { PRIORITY_ZONE } else { PRIORITY_REGION }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearness_is_zone_then_region_then_the_rest() {
        let cases = [
            (("r1", "a"), ("r1", "a"), 0),
            (("r1", "a"), ("r1", "b"), 1),
            (("r1", "a"), ("r1", ""), 1),
            (("r1", "a"), ("r2", "a"), 2),
            (("r1", "a"), ("", "a"), 0),
            (("r1", "a"), ("", "b"), 2),
            (("r1", "a"), ("", ""), 2),
            (("r1", ""), ("r1", "b"), 0),
            (("r1", ""), ("r1", ""), 0),
            (("r1", ""), ("", ""), 2),
            (("", ""), ("r2", "b"), 0),
            (("", ""), ("", ""), 0),
        ];
        for ((region, zone), (its_region, its_zone), expected) in cases {
            let audience = Locality::new(region, zone);
            let endpoint = Locality::new(its_region, its_zone);
            assert_eq!(priority(&audience, &endpoint), expected, "{audience} and {endpoint}");
        }
    }
}
