//! Counts what a scheduler does, from outside: whatever it is, it is asked and answers as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guywire_sched::{Factory, FlowView, Marks, Offence, Scheduler};

/// What the instances of a scheduler did, at both ends together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    decisions: AtomicU64,
    instructions: AtomicU64,
    overrides: AtomicU64,
}

impl Counts {
    /// Times it was asked.
    pub(crate) fn decisions(&self) -> u64 {
        self.decisions.load(Ordering::Relaxed)
    }

    /// Instructions of the machine that it took.
    pub(crate) fn instructions(&self) -> u64 {
        self.instructions.load(Ordering::Relaxed)
    }

    /// New chunks that were placed although it had placed nothing: by `default`, whom the guard asked.
    pub(crate) fn overrides(&self) -> u64 {
        self.overrides.load(Ordering::Relaxed)
    }
}

/// The same scheduler, counted.
pub(crate) fn counted(factory: &Factory) -> (Factory, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let (inner, shared) = (factory.clone(), Arc::clone(&counts));
    let factory = Factory::new(factory.name(), move || {
        let (maker, shared) = (inner.start(), Arc::clone(&shared));
        Box::new(move || {
            Box::new(Counted {
                inner: maker(),
                counts: Arc::clone(&shared),
                last: None,
            })
        })
    });
    (factory, counts)
}

struct Counted {
    inner: Box<dyn Scheduler>,
    counts: Arc<Counts>,
    /// What of the flow was scheduled when it was last asked, and whether it placed the next chunk.
    last: Option<(u64, bool)>,
}

impl Scheduler for Counted {
    fn get_send(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        if let Some((sent, false)) = self.last
            && flow.sent > sent
        {
            self.counts.overrides.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.decisions.fetch_add(1, Ordering::Relaxed);
        self.inner.get_send(flow, marks);
        let mut marked = marks.iter().filter_map(|at| flow.subflows.get(at));
        self.last = Some((flow.sent, marked.any(|subflow| subflow.room > 0)));
    }

    fn get_retrans(&mut self, flow: &FlowView<'_>, marks: &mut Marks) {
        self.counts.decisions.fetch_add(1, Ordering::Relaxed);
        self.inner.get_retrans(flow, marks);
    }

    fn offence(&mut self) -> Option<Offence> {
        self.inner.offence()
    }

    fn spent(&mut self) -> u64 {
        let spent = self.inner.spent();
        self.counts.instructions.fetch_add(spent, Ordering::Relaxed);
        spent
    }

    fn log(&self) -> Vec<String> {
        self.inner.log()
    }
}

#[cfg(test)]
mod tests {
    use guywire_sched::{SubflowView, Time};

    use super::*;

    #[test]
    fn a_chunk_that_another_placed_is_an_override() {
        let (factory, counts) =
            counted(&guywire_sched::native("minrtt").expect("it is there").into());
        let mut scheduler = (factory.start())();
        let mut ask = |sent, room| {
            let subflows = [SubflowView {
                room,
                ..SubflowView::EMPTY
            }];
            let flow = FlowView {
                now: Time::ZERO,
                traffic: guywire_sched::Traffic::default(),
                window_free: 1 << 20,
                outstanding: 0,
                backlog: 1 << 20,
                sent,
                chunk: 1_000,
                subflows: &subflows,
            };
            scheduler.get_send(&flow, &mut Marks::default());
        };
        ask(0, 1_000);
        ask(1_000, 0);
        ask(1_000, 0);
        assert_eq!((counts.decisions(), counts.overrides()), (3, 0));
        ask(2_000, 1_000);
        assert_eq!(counts.overrides(), 1);
        ask(3_000, 0);
        assert_eq!(counts.overrides(), 1);
    }
}
