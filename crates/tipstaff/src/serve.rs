//! `serve`: the home's monitor in the foreground, with its door over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use tipstaff_gateway::{
    Api, GatewayError, HttpDoor, HttpOptions, Pages, Token, end_signals, notify,
};
use tipstaff_monitor::{MonitorError, Service};

use crate::home::Place;
use crate::measure;
use crate::outcome::{Failure, Outcome};

pub(crate) fn serve(at: &Place, listen: SocketAddr) -> Outcome {
    let listener = HttpDoor::bind(listen).map_err(|error| match error {
        GatewayError::NotLoopback(_) => Failure::Usage(error.to_string()),
        _ => Failure::undone(
            &format!("{listen} can't be listened on."),
            error,
            "Name another port with --listen, or port 0 for a free one.",
        ),
    })?;
    // From here on a signal ends it in order.
    let signals = end_signals().map_err(not_served)?;
    let service = Service::take_over(&at.home).map_err(|error| match error {
        MonitorError::AlreadyServing => Failure::undone(
            "This home is served already.",
            error,
            "Use that one, end it first, or name another home with --home.",
        ),
        MonitorError::Stays(_) => Failure::undone(
            "This home can't be served from here.",
            error,
            "Run it in a terminal that no agent's client started.",
        ),
        error => Failure::undone(
            "The monitor could not be started.",
            error,
            "Look with `tipstaff log fsck` and `tipstaff policy check`.",
        ),
    })?;
    let monitor = Arc::clone(service.monitor());
    measure::install(&at.home, &monitor);
    notify(&monitor, at.home.root().to_owned()).map_err(not_served)?;
    let token = Token::open_or_create(at.home.root()).map_err(not_served)?;
    let api = Api::new(Arc::clone(&monitor), &at.home, token).map_err(not_served)?;
    let pages: Arc<dyn Pages> = Arc::new(api);
    let options = HttpOptions { home: at.home.root().to_owned(), monitor, pages: Some(pages) };
    let door = Arc::new(HttpDoor::open(listener, options).map_err(not_served)?);
    if at.json {
        println!("{}", serde_json::json!({ "url": format!("http://{}", door.address()) }));
    } else {
        println!("http://{}", door.address());
    }
    let (stopper, closing) = (service.stopper(), Arc::clone(&door));
    signals.on_first(move || {
        closing.end();
        stopper.stop();
    });
    let ended = service.run();
    door.end();
    ended.map_err(|error| {
        let next = "Look with `tipstaff log fsck` and `tipstaff policy check`.";
        Failure::undone("The monitor stopped.", error, next)
    })
}

fn not_served(error: GatewayError) -> Failure {
    Failure::undone("This home can't be served.", error, "Mend that and try again.")
}
