//! A subscription of the other side, as the topic sees it.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use panpipe_link::panpipe::{Body, Flags, Policy};
use panpipe_link::{CallId, ErrorKind};
use panpipe_values::Failure;

use super::state::Shared;
use crate::service::{Encoded, Subscriber};

/// The stream of items to the other side.
pub(super) struct PeerSubscriber {
    shared: Weak<Shared>,
    call: CallId,
    policy: Policy,
}

impl PeerSubscriber {
    pub(super) fn new(shared: &Arc<Shared>, call: CallId, policy: Policy) -> Self {
        PeerSubscriber { shared: Arc::downgrade(shared), call, policy }
    }
}

impl Subscriber for PeerSubscriber {
    fn open(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = shared.lock();
        if let Ok(session) = state.endpoint.session_for("publishing to") {
            session.open(self.call, self.policy);
        }
        state.cork();
    }

    fn poll_offer(&self, task: &mut Context<'_>, item: &Encoded) -> Poll<()> {
        let Some(shared) = self.shared.upgrade() else { return Poll::Ready(()) };
        let mut state = shared.lock();
        if self.policy == Policy::Block
            && state.serving.contains_key(&self.call.0)
            && state.poll_item_room(self.call, task).is_pending()
        {
            return Poll::Pending;
        }
        let Ok(session) = state.endpoint.session_for("publishing to") else { return Poll::Ready(()) };
        let sent = session.item(self.call, Flags::NONE.raw(item.raw), Body::Shared(item.payload.clone()));
        if let Err(error) = sent
            && error.kind() == ErrorKind::Lagged
        {
            session.fail(self.call, &Failure::new(error.code(), error.to_string()).encode());
            state.end_serving(self.call);
        }
        state.cork();
        Poll::Ready(())
    }
}
