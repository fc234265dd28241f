//! Who was heard when. Only the coordinating node knows, and only while it coordinates.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quipu_coordinator::{GroupName, MemberId};

/// The sessions of all groups this node coordinates. Times: since the clock's start.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    groups: Mutex<BTreeMap<GroupName, BTreeMap<MemberId, Session>>>,
}

/// One member's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// When it was heard, or when this node began to coordinate.
    pub(crate) heard: Duration,
    pub(crate) timeout: Duration,
    /// The stream it speaks on, while that stands.
    pub(crate) stream: Option<u64>,
}

impl Session {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) > self.timeout
    }
}

type Groups = BTreeMap<GroupName, BTreeMap<MemberId, Session>>;

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream speaks for a member from now on; an older one of the same member does not.
    pub(crate) fn open(&self, group: &GroupName, member: &MemberId, session: Session) {
        let mut groups = self.lock();
        let members = groups.entry(group.clone()).or_default();
        // Joins of one member may be answered in any order: the newest stream speaks.
        let newer = members.get(member).and_then(|known| known.stream);
        if newer.is_none_or(|newer| Some(newer) < session.stream) {
            members.insert(member.clone(), session);
        }
    }

    /// A heartbeat on a stream; false when another one took over, or the session is gone.
    pub(crate) fn heard(
        &self,
        group: &GroupName,
        member: &MemberId,
        stream: u64,
        now: Duration,
    ) -> bool {
        let mut groups = self.lock();
        let session = groups.get_mut(group).and_then(|members| members.get_mut(member));
        match session.filter(|session| session.stream == Some(stream)) {
            Some(session) => {
                session.heard = now;
                true
            }
            None => false,
        }
    }

    /// A stream ended; the session goes on until it times out.
    pub(crate) fn close(&self, group: &GroupName, member: &MemberId, stream: u64) {
        let mut groups = self.lock();
        let session = groups.get_mut(group).and_then(|members| members.get_mut(member));
        if let Some(session) = session.filter(|session| session.stream == Some(stream)) {
            session.stream = None;
        }
    }

    /// A member is gone.
    pub(crate) fn remove(&self, group: &GroupName, member: &MemberId) {
        let mut groups = self.lock();
        if let Some(members) = groups.get_mut(group) {
            members.remove(member);
            if members.is_empty() {
                groups.remove(group);
            }
        }
    }

    /// A member that was silent at `seen` is gone. A session that was heard since, or opened by a
    /// stream, is another stay's.
    pub(crate) fn remove_silent(&self, group: &GroupName, member: &MemberId, seen: Duration) {
        let mut groups = self.lock();
        let Some(members) = groups.get_mut(group) else { return };
        members.retain(|id, session| id != member || !session.is_over(seen));
        if members.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether a member was heard lately enough.
    pub(crate) fn is_live(&self, group: &GroupName, member: &MemberId, now: Duration) -> bool {
        self.get(group, member).is_some_and(|session| !session.is_over(now))
    }

    pub(crate) fn get(&self, group: &GroupName, member: &MemberId) -> Option<Session> {
        self.lock().get(group)?.get(member).copied()
    }

    /// Brings a group's sessions in line with its members. With `grant` everybody has a whole
    /// session before them: this node was not listening before. Returns whose session is over.
    pub(crate) fn review(
        &self,
        group: &GroupName,
        members: impl Iterator<Item = (MemberId, Duration)>,
        now: Duration,
        grant: bool,
    ) -> Vec<MemberId> {
        let mut groups = self.lock();
        let mut known = groups.remove(group).unwrap_or_default();
        let mut kept = BTreeMap::new();
        let mut over = Vec::new();
        for (member, timeout) in members {
            let fresh = Session { heard: now, timeout, stream: None };
            let mut session = known.remove(&member).unwrap_or(fresh);
            session.timeout = timeout;
            if grant {
                session.heard = now;
            }
            if session.is_over(now) {
                over.push(member.clone());
            }
            kept.insert(member, session);
        }
        // Sessions of streams whose join is not applied yet stay.
        kept.extend(known.into_iter().filter(|(_, session)| !session.is_over(now)));
        if !kept.is_empty() {
            groups.insert(group.clone(), kept);
        }
        over
    }

    /// Forgets groups that this node does not coordinate any more.
    pub(crate) fn retain(&self, is_ours: impl Fn(&GroupName) -> bool) {
        self.lock().retain(|group, _| is_ours(group));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (GroupName, MemberId) {
        (GroupName::new("sms").expect("valid"), MemberId::new("m-1").expect("valid"))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_ends_a_session_and_a_new_coordinator_grants_a_whole_one() {
        let (group, member) = names();
        let sessions = Sessions::default();
        let review = |now, grant| {
            sessions.review(&group, std::iter::once((member.clone(), at(45))), at(now), grant)
        };
        assert!(review(100, false).is_empty(), "first seen");
        assert!(review(145, false).is_empty());
        assert_eq!(review(146, false), std::slice::from_ref(&member));
        assert!(review(146, true).is_empty(), "granted anew");
        assert!(review(191, false).is_empty());
        assert_eq!(review(192, false), std::slice::from_ref(&member));
    }

    #[test]
    fn who_is_heard_again_in_time_is_not_removed() {
        let (group, member) = names();
        let sessions = Sessions::default();
        sessions.open(&group, &member, Session { heard: at(0), timeout: at(45), stream: Some(1) });
        assert!(sessions.is_live(&group, &member, at(45)));
        assert!(!sessions.is_live(&group, &member, at(46)));
        assert!(sessions.heard(&group, &member, 1, at(47)), "late, and before its expiry");
        assert!(sessions.is_live(&group, &member, at(48)));
        sessions.remove_silent(&group, &member, at(46));
        assert!(sessions.get(&group, &member).is_some(), "heard since");
        sessions.remove_silent(&group, &member, at(93));
        assert_eq!(sessions.get(&group, &member), None);
    }

    #[test]
    fn the_newest_stream_speaks() {
        let (group, member) = names();
        let sessions = Sessions::default();
        let session = |stream| Session { heard: at(0), timeout: at(45), stream: Some(stream) };
        sessions.open(&group, &member, session(1));
        sessions.open(&group, &member, session(2));
        sessions.open(&group, &member, session(1));
        assert!(!sessions.heard(&group, &member, 1, at(9)));
        assert!(sessions.heard(&group, &member, 2, at(9)));
        sessions.close(&group, &member, 1);
        assert_eq!(sessions.get(&group, &member).expect("there").stream, Some(2));
        sessions.close(&group, &member, 2);
        assert_eq!(sessions.get(&group, &member).expect("there").heard, at(9));
        assert!(!sessions.heard(&group, &member, 2, at(10)), "its stream is closed");
    }
}
