//! `serve`: the home's monitor in the foreground, with its door over HTTP, beyond this machine with TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use tipstaff_core::Millis;
use tipstaff_gateway::{
    Api, ClientCertificates, GatewayError, HttpDoor, HttpOptions, Pages, TlsOptions, Token,
    end_signals, notify,
};
use tipstaff_identity::{HomeKeys, ServerAuthority, ServerName};
use tipstaff_monitor::{MonitorError, Service};
use tipstaff_store::{Clock as _, SystemClock};

use crate::cli::Clients;
use crate::home::Place;
use crate::measure;
use crate::outcome::{Failure, Outcome};

/// How TLS is spoken: by which names, and what clients have to show.
pub(crate) type WithTls = (Vec<String>, Clients);

pub(crate) fn serve(at: &Place, listen: SocketAddr, tls: Option<WithTls>) -> Outcome {
    let (scheme, tls) = match tls {
        Some(wanted) => ("https", Some(options(at, listen, wanted)?)),
        None => ("http", None),
    };
    let listener = HttpDoor::bind(listen, tls).map_err(|error| match error {
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
        println!("{}", serde_json::json!({ "url": format!("{scheme}://{}", door.address()) }));
    } else {
        println!("{scheme}://{}", door.address());
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

/// Prints what clients have to trust.
pub(crate) fn authority(at: &Place) -> Outcome {
    let authority = home_authority(at)?;
    if at.json {
        println!("{}", serde_json::json!({ "certificate": authority.pem() }));
    } else {
        print!("{}", authority.pem());
    }
    Ok(())
}

fn home_authority(at: &Place) -> Result<ServerAuthority, Failure> {
    let undone = "The home's certificate authority can't be used.";
    at.must_be_there()?;
    let failed = |error| Failure::undone(undone, error, "Mend that and try again.");
    let keys = HomeKeys::open(at.home.root()).map_err(failed)?;
    let now = Millis(SystemClock.now_ms());
    ServerAuthority::open_or_create(at.home.root(), keys.origin(), now).map_err(failed)
}

fn options(
    at: &Place,
    listen: SocketAddr,
    (names, clients): WithTls,
) -> Result<TlsOptions, Failure> {
    let mut names = names
        .iter()
        .map(|name| {
            let wrong = || Failure::Usage(format!("`{name}` is no DNS name and no IP address"));
            ServerName::parse(name).ok_or_else(wrong)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let address = listen.ip();
    if address.is_unspecified() && names.is_empty() {
        let what = "say with --name by which name clients reach this address";
        return Err(Failure::Usage(what.to_owned()));
    }
    if !address.is_unspecified() {
        names.extend(ServerName::parse(&address.to_string()));
    }
    if address.is_loopback() {
        names.extend(ServerName::parse("localhost"));
    }
    let clients = match clients {
        Clients::Required => ClientCertificates::Required,
        Clients::Optional => ClientCertificates::Optional,
    };
    Ok(TlsOptions { authority: home_authority(at)?, names, clients })
}

fn not_served(error: GatewayError) -> Failure {
    Failure::undone("This home can't be served.", error, "Mend that and try again.")
}
