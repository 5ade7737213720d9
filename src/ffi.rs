//! The one file in which `unsafe` is allowed: calls into C libraries for which no crate has a safe wrapper.
//!
//! Each function here is safe to call, owns what it makes, and gives it back in a guard, whatever happens.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::bindings::{self as c, rd_kafka_AclOperation_t as Operation};
use rdkafka::client::{Client, ClientContext, OAuthToken};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedHeaders;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

/// Frees a C object when it goes out of scope.
struct Owned<T> {
    object: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// [`None`] for a null pointer.
    fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!object.is_null()).then_some(Self { object, free })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `object` is not null, came from the function that `free` belongs to, and is freed only here.
        unsafe { (self.free)(self.object) }
    }
}

/// What is done with a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Doing {
    /// Fetch.
    Read,
    /// Produce.
    Write,
}

/// Gives an OAUTHBEARER token to a client that nobody polls, so that it cannot ask for one.
///
/// # Errors
/// When librdkafka does not take the token, for instance because it has expired.
pub(crate) fn give_token<C: ClientContext>(
    client: &Client<C>,
    token: &OAuthToken,
) -> Result<(), KafkaError> {
    let refused = || KafkaError::Global(RDKafkaErrorCode::Authentication);
    let value = CString::new(token.token.as_str()).map_err(|_| refused())?;
    let principal = CString::new(token.principal_name.as_str()).map_err(|_| refused())?;
    let mut text = [0; 128];
    // SAFETY: the client lives during the call, the two texts outlive it, there are no extensions, and librdkafka writes
    // at most `text.len()` bytes of explanation.
    let code = unsafe {
        c::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        _ => Err(refused()),
    }
}

/// Commits these offsets, and has the answer come as the answers to librdkafka's own commits come: through the consumer's
/// poll. The safe wrapper's asynchronous commit is not answered at all, because librdkafka answers only who named a queue.
///
/// # Errors
/// When it could not even be asked.
pub(crate) fn commit<C: ClientContext>(
    client: &Client<C>,
    offsets: &TopicPartitionList,
) -> Result<(), KafkaError> {
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`, the list during the call, and librdkafka copies it. The queue is checked for
    // null and given back by its guard; librdkafka keeps its own reference until it has answered.
    let code = unsafe {
        let queue = c::rd_kafka_queue_get_consumer(rk);
        let queue = Owned::new(queue, c::rd_kafka_queue_destroy)
            .ok_or(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownGroup))?;
        c::rd_kafka_commit_queue(rk, offsets.ptr(), queue.object, None, std::ptr::null_mut())
    };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::ConsumerCommit(code.into())),
    }
}

/// Whether this client's principal may do this with `topic` (KIP-430). [`None`]: the broker does not tell, for instance
/// because it has no authorizer. Blocks for `timeout` at most.
///
/// # Errors
/// When the broker does not answer, or does not let the topic be described.
pub(crate) fn may<C: ClientContext>(
    client: &Client<C>,
    doing: Doing,
    topic: &str,
    timeout: Duration,
) -> Result<Option<bool>, KafkaError> {
    let this = match doing {
        Doing::Read => Operation::RD_KAFKA_ACL_OPERATION_READ,
        Doing::Write => Operation::RD_KAFKA_ACL_OPERATION_WRITE,
    };
    let wanted = [this, Operation::RD_KAFKA_ACL_OPERATION_ALL];
    let told = describe(client, &[topic], true, timeout, |description| {
        let mut count = 0;
        // SAFETY: the description lives during this call, and its operations as long as it does.
        unsafe {
            let error = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(description));
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(KafkaError::AdminOp(error.into()));
            }
            let operations =
                c::rd_kafka_TopicDescription_authorized_operations(description, &mut count);
            if operations.is_null() {
                return Ok(None);
            }
            let operations = std::slice::from_raw_parts(operations, count);
            Ok(Some(operations.iter().any(|one| wanted.contains(one))))
        }
    })?;
    told.into_iter().next().unwrap_or(Ok(None))
}

/// Which topic a name means at present (KIP-516): another one of the same name has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicId(i64, i64);

/// The ids of these topics, in their order. [`None`]: there is no such topic, or the broker is older than ids (2.8).
/// Blocks for `timeout` at most.
///
/// # Errors
/// When the broker does not answer.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<Option<TopicId>>, KafkaError> {
    let ids = describe(client, topics, false, timeout, |description| {
        // SAFETY: the description lives during this call, and its name and id as long as it does.
        unsafe {
            let name = c::rd_kafka_TopicDescription_name(description);
            let id = c::rd_kafka_TopicDescription_topic_id(description);
            let error = c::rd_kafka_error_code(c::rd_kafka_TopicDescription_error(description));
            if name.is_null() || id.is_null() || error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return None;
            }
            let id = TopicId(
                c::rd_kafka_Uuid_most_significant_bits(id),
                c::rd_kafka_Uuid_least_significant_bits(id),
            );
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            (id != TopicId(0, 0)).then_some((name, id))
        }
    })?;
    let of = |topic: &&str| {
        let mut found = ids.iter().flatten();
        Some(found.find(|(name, _)| name == topic)?.1)
    };
    Ok(topics.iter().map(of).collect())
}

/// Asks for descriptions of topics, and reads from each what `read` wants of it.
fn describe<C: ClientContext, T>(
    client: &Client<C>,
    topics: &[&str],
    operations: bool,
    timeout: Duration,
    read: impl Fn(*const c::rd_kafka_TopicDescription_t) -> T,
) -> Result<Vec<T>, KafkaError> {
    let failed = |code: RDKafkaErrorCode| KafkaError::AdminOp(code);
    let no_memory = || failed(RDKafkaErrorCode::Fail);
    let names = topics.iter().map(|topic| CString::new(*topic));
    let names: Vec<CString> = names
        .collect::<Result<_, _>>()
        .map_err(|_| failed(RDKafkaErrorCode::InvalidTopic))?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`. `names` outlive the calls that read them; librdkafka copies the list of
    // names. Options, collection, queue and event are made here, checked for null, and freed by their guards in the
    // reverse order. What is read off the event (result, descriptions) belongs to the event and is not used after it.
    unsafe {
        let options = c::rd_kafka_AdminOptions_new(
            rk,
            c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let options =
            Owned::new(options, c::rd_kafka_AdminOptions_destroy).ok_or_else(no_memory)?;
        let mut text = [0; 128];
        c::rd_kafka_AdminOptions_set_request_timeout(
            options.object,
            millis,
            text.as_mut_ptr(),
            text.len(),
        );
        let refused = c::rd_kafka_AdminOptions_set_include_authorized_operations(
            options.object,
            i32::from(operations),
        );
        if let Some(_error) = Owned::new(refused, c::rd_kafka_error_destroy) {
            return Ok(Vec::new());
        }
        let topics =
            c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let topics =
            Owned::new(topics, c::rd_kafka_TopicCollection_destroy).ok_or_else(no_memory)?;
        let queue = Owned::new(c::rd_kafka_queue_new(rk), c::rd_kafka_queue_destroy)
            .ok_or_else(no_memory)?;
        c::rd_kafka_DescribeTopics(rk, topics.object, options.object, queue.object);
        let event = c::rd_kafka_queue_poll(queue.object, millis.saturating_add(1000));
        let event = Owned::new(event, c::rd_kafka_event_destroy)
            .ok_or_else(|| failed(RDKafkaErrorCode::OperationTimedOut))?;
        let error = c::rd_kafka_event_error(event.object);
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(error.into()));
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event.object);
        if result.is_null() {
            return Ok(Vec::new());
        }
        let mut count = 0;
        let descriptions = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if descriptions.is_null() {
            return Ok(Vec::new());
        }
        let descriptions = std::slice::from_raw_parts(descriptions, count);
        Ok(descriptions.iter().map(|one| read(*one)).collect())
    }
}

/// The headers of a record, in order. Kafka does not promise that a name is UTF-8: what is not is replaced by U+FFFD,
/// where the safe wrapper panics, so that one strange record cannot stop a stream.
pub(crate) fn headers(headers: &BorrowedHeaders) -> Vec<(String, Option<Bytes>)> {
    let list = std::ptr::from_ref(headers).cast::<c::rd_kafka_headers_t>();
    let mut found = Vec::new();
    // SAFETY: a `BorrowedHeaders` is never made but by casting librdkafka's pointer to it, which is undone here; it lives
    // as long as the borrow. Name and value belong to the list and are copied before it goes. `get_all` says with its
    // result that the index is past the last header.
    unsafe {
        for index in 0..c::rd_kafka_header_cnt(list) {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            let result = c::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size);
            if result != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                break;
            }
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let value = (!value.is_null())
                .then(|| Bytes::copy_from_slice(std::slice::from_raw_parts(value.cast(), size)));
            found.push((name, value));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of headers as librdkafka makes it of a record: names and values are any bytes, and a value may be absent.
    fn read(list: &[(&[u8], Option<&[u8]>)]) -> Vec<(String, Option<Bytes>)> {
        // SAFETY: the list is freed after its last use, by the function that belongs to it. `add` copies name and value,
        // whose sizes are theirs; the reference lives as long as the list.
        unsafe {
            let made = c::rd_kafka_headers_new(list.len());
            let made = Owned::new(made, c::rd_kafka_headers_destroy).expect("a list");
            for (name, value) in list {
                let at = value.map_or(std::ptr::null(), |value| value.as_ptr().cast());
                let size = value.map_or(0, |value| isize::try_from(value.len()).expect("small"));
                let length = isize::try_from(name.len()).expect("small");
                let name = name.as_ptr().cast();
                let added = c::rd_kafka_header_add(made.object, name, length, at, size);
                assert_eq!(added, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
            }
            headers(&*made.object.cast::<BorrowedHeaders>())
        }
    }

    #[test]
    fn a_header_whose_name_is_no_utf8_is_read_as_any_other() {
        let list: [(&[u8], Option<&[u8]>); 5] = [
            (b"trace", Some(b"\xff\x00\xfe")),
            (b"na\xefve", Some(b"latin-1")),
            (b"\xff\xfe", None),
            ("é".as_bytes(), Some(b"")),
            (b"trace", Some(b"again")),
        ];
        let value = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
        let wanted = [
            ("trace", value(b"\xff\x00\xfe")),
            ("na\u{fffd}ve", value(b"latin-1")),
            ("\u{fffd}\u{fffd}", None),
            ("é", value(b"")),
            ("trace", value(b"again")),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(read(&list), wanted);
        assert_eq!(read(&[]), []);
    }
}
