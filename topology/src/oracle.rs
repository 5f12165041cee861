//! The dumb version: the same views, derived from scratch with plain maps. For tests.

use crate::audience::Audience;
use crate::event::Event;
use crate::mirror::View;

#[derive(Clone, Debug, Default)]
pub struct World {}

impl World {
    pub fn apply(&mut self, event: &Event) {
        let _ = event;
    }

    pub fn view(&self, audience: &Audience) -> View {
        let _ = audience;
        View::default()
    }
}
