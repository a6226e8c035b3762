//! What a worker keeps for one configuration.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use prometheus::IntCounter;
use smilax_core::{Backend, ChoiceState, PortRoutes, Route, RouteTable, Selection};

use super::Worker;
use crate::endpoints::Balanced;
use crate::metrics::Metrics;
use crate::metrics::traffic::Telemetry;

/// What a worker keeps for one configuration.
pub struct TableState {
    /// The configuration.
    pub table: Arc<RouteTable>,
    routes: RefCell<Vec<Option<RouteState>>>,
    telemetry: RefCell<Vec<Option<Rc<Telemetry>>>>,
    balanced: RefCell<Vec<Option<Rc<Balanced>>>>,
}

struct RouteState {
    choice: ChoiceState,
    chosen: Vec<IntCounter>,
}

impl TableState {
    pub(super) fn new(table: Arc<RouteTable>) -> Self {
        let routes = (0..table.route_count()).map(|_| None).collect();
        let telemetry = vec![None; table.backend_count()];
        let balanced = vec![None; table.backend_count()];
        Self {
            table,
            balanced: RefCell::new(balanced),
            routes: RefCell::new(routes),
            telemetry: RefCell::new(telemetry),
        }
    }

    /// The backend that takes what was selected; `Err` when the path is ambiguous.
    ///
    /// # Errors
    /// The ambiguity.
    pub fn choose<'a>(
        &self,
        worker: &Worker,
        routes: &'a PortRoutes,
        selection: &Selection<'a>,
    ) -> Result<&'a Backend, smilax_core::path::Ambiguity> {
        match selection {
            Selection::Own(own) => Ok(own),
            Selection::AmbiguousPath(ambiguity) => Err(*ambiguity),
            Selection::Route(route) => Ok(self.choose_from(worker, routes, route)),
        }
    }

    fn choose_from<'a>(&self, worker: &Worker, routes: &'a PortRoutes, route: &'a Route) -> &'a Backend {
        let mut states = self.routes.borrow_mut();
        let Some(slot) = states.get_mut(route.index) else {
            return &routes.own;
        };
        let state = slot.get_or_insert_with(|| RouteState::new(&worker.shared.metrics, routes, route));
        let chosen = route.weights.choose(&mut state.choice, fastrand::u64(..));
        if let Some(counter) = state.chosen.get(chosen) {
            counter.inc();
        }
        route.backends.get(chosen).unwrap_or(&routes.own)
    }

    /// What is kept of the endpoints of a backend of this configuration.
    pub fn balanced(&self, worker: &Worker, backend: &Backend) -> Rc<Balanced> {
        let mut all = self.balanced.borrow_mut();
        match all.get_mut(backend.index) {
            Some(Some(known)) => Rc::clone(known),
            Some(slot) => Rc::clone(slot.insert(worker.balanced(backend))),
            None => worker.balanced(backend),
        }
    }

    /// What is measured about a backend of this configuration.
    pub fn telemetry(&self, worker: &Worker, backend: &Backend) -> Rc<Telemetry> {
        let mut all = self.telemetry.borrow_mut();
        match all.get_mut(backend.index) {
            Some(Some(known)) => Rc::clone(known),
            Some(slot) => Rc::clone(slot.insert(worker.telemetry_of(&backend.destination))),
            None => worker.telemetry_of(&backend.destination),
        }
    }
}

impl RouteState {
    fn new(metrics: &Metrics, routes: &PortRoutes, route: &Route) -> Self {
        let split = format!("{}/{}", route.source.namespace, route.source.name);
        let root = routes.own.destination.to_string();
        Self {
            choice: route.weights.start(),
            chosen: route
                .backends
                .iter()
                .map(|backend| metrics.split(&split, &root, &backend.destination.to_string()))
                .collect(),
        }
    }
}
