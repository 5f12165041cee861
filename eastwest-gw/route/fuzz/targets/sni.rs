//! The codec of server names: never panics, and what it decodes it encodes to the same text.

#![no_main]

use diolkos_route::{HostName, sni};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let host = HostName::new(input);
    if let Ok(host) = &host {
        assert_eq!(HostName::new(host.as_str().as_bytes()).as_ref(), Ok(host));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(name) = sni::decode(text) {
        assert!(host.is_ok(), "a name that decodes is a host name");
        let again = name.to_string();
        assert_eq!(again, text.to_ascii_lowercase());
        assert_eq!(sni::decode(&again).as_ref(), Ok(&name));
    }
});
