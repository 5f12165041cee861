//! Property 11 for the codec of server names.

use diolkos_route::sni;
use proptest::prelude::*;

proptest! {
    #[test]
    fn property_11_decode_gives_back_what_was_encoded(
        port in 1..=u16::MAX,
        subset in "([a-z0-9]([a-z0-9_-]{0,20}[a-z0-9])?)?",
        host in "([a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?\\.){0,6}[a-z][a-z0-9]{0,10}",
    ) {
        let text = sni::encode(port, &subset, &host);
        let name = sni::decode(&text).expect("a name of valid parts decodes");
        prop_assert_eq!(name.port(), port);
        prop_assert_eq!(name.subset(), subset);
        prop_assert_eq!(name.host().as_str(), host);
        prop_assert_eq!(name.to_string(), text);
    }

    #[test]
    fn property_11_what_decodes_encodes_to_the_same_text(
        text in "(outbound|inbound)?(_\\.)?[0-9]{0,5}_\\.[a-z_.-]{0,8}_\\.[a-z_.-]{0,12}",
    ) {
        if let Ok(name) = sni::decode(&text) {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
