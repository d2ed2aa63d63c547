//! The events of clients that are not polled.

use std::ffi::{CStr, c_char};

use rdkafka::bindings as ffi;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::owned::Owned;

/// Passes what a client has logged and reported to its context; never waits. For clients that are
/// not polled, such as rdkafka's `AdminClient`: the errors of their connections would stay in a
/// queue that grows as long as they occur. A polled client has no events here.
pub fn serve<C: ClientContext>(client: &Client<C>) {
    // SAFETY: the client is alive, since it is borrowed; the reference to its queue is owned here.
    let queue = unsafe {
        Owned::new(
            ffi::rd_kafka_queue_get_main(client.native_ptr()),
            ffi::rd_kafka_queue_destroy,
        )
    };
    let Some(queue) = queue else { return };
    loop {
        // SAFETY: the queue is alive; an event that it returns is owned here.
        let event = unsafe {
            Owned::new(
                ffi::rd_kafka_queue_poll(queue.as_ptr(), 0),
                ffi::rd_kafka_event_destroy,
            )
        };
        let Some(event) = event else { return };
        hand_over(&event, client.context().as_ref());
    }
}

fn hand_over<C: ClientContext>(event: &Owned<ffi::rd_kafka_event_t>, context: &C) {
    // SAFETY: the event is alive, and what its accessors return lives as long as the event.
    match unsafe { ffi::rd_kafka_event_type(event.as_ptr()) } {
        ffi::RD_KAFKA_EVENT_LOG => {
            let (mut facility, mut text) = (std::ptr::null(), std::ptr::null());
            let mut level = 0;
            // SAFETY: as above; librdkafka writes to the three places, which are ours.
            let failed = unsafe {
                ffi::rd_kafka_event_log(
                    event.as_ptr(),
                    &raw mut facility,
                    &raw mut text,
                    &raw mut level,
                )
            };
            if failed == 0 {
                let level = level_of(level);
                // SAFETY: both are texts of the event, which is alive.
                let (facility, text) = unsafe { (text_at(facility), text_at(text)) };
                context.log(level, facility.trim(), text.trim());
            }
        }
        ffi::RD_KAFKA_EVENT_ERROR => {
            // SAFETY: as above.
            let (code, text) = unsafe {
                let code = ffi::rd_kafka_event_error(event.as_ptr());
                (
                    code,
                    text_at(ffi::rd_kafka_event_error_string(event.as_ptr())),
                )
            };
            context.error(KafkaError::Global(code.into()), text.trim());
        }
        _ => {}
    }
}

/// Converts a syslog level, as librdkafka uses them.
fn level_of(level: i32) -> RDKafkaLogLevel {
    match level {
        ..=0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        7.. => RDKafkaLogLevel::Debug,
    }
}

/// # Safety
/// `text` is null, or ends with a null byte and lives during this call.
unsafe fn text_at(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by the contract.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
