//! The one file in which `unsafe` is allowed: calls into C libraries for which no crate has a safe wrapper. What librdkafka
//! tells and rdkafka does not wrap comes first, [`crypto_mb`] after it.
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
    /// [`None`] for a null pointer, which is never freed: not every `free` takes it.
    fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        if object.is_null() {
            return None;
        }
        Some(Self { object, free })
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

/// What a consumer came upon in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// A record at this offset.
    Record(i64),
    /// The end of the log, by the answer to one fetch: nothing that is committed lies between the record before and this
    /// offset.
    End(i64),
    /// Something else.
    Error(RDKafkaErrorCode),
}

/// Takes what a consumer has next, and says in which topic and partition. The safe wrapper tells the end of a log without
/// its topic and offset, so it cannot be known which end that is. [`None`]: nothing within so long, or nothing about a
/// partition. Only for a consumer that nobody else polls, and that commits nothing.
pub(crate) fn meet<C: ClientContext>(
    client: &Client<C>,
    timeout: Duration,
) -> Option<(String, i32, Met)> {
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    // SAFETY: `rk` lives as long as `client`. Queue, event and the description of its partition are checked for null and
    // given back by their guards; the message belongs to the event, and its topic's name to the topic that the message
    // keeps; what is read of them is copied before they go.
    unsafe {
        let queue = c::rd_kafka_queue_get_consumer(rk);
        let queue = Owned::new(queue, c::rd_kafka_queue_destroy)?;
        let event = c::rd_kafka_queue_poll(queue.object, millis);
        let event = Owned::new(event, c::rd_kafka_event_destroy)?;
        let message = c::rd_kafka_event_message_next(event.object);
        if !message.is_null() && !(*message).rkt.is_null() {
            let name = CStr::from_ptr(c::rd_kafka_topic_name((*message).rkt));
            let met = match (*message).err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Met::Record((*message).offset),
                code => Met::Error(code.into()),
            };
            return Some((
                name.to_string_lossy().into_owned(),
                (*message).partition,
                met,
            ));
        }
        let code = c::rd_kafka_event_error(event.object);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let place = c::rd_kafka_event_topic_partition(event.object);
        let place = Owned::new(place, c::rd_kafka_topic_partition_destroy)?;
        let place = &*place.object;
        let met = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Met::End(place.offset),
            code => Met::Error(code.into()),
        };
        let name = CStr::from_ptr(place.topic).to_string_lossy().into_owned();
        Some((name, place.partition, met))
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

/// Intel's multi-buffer RSA (`libcrypto_mb`, header `crypto_mb/rsa.h` of 2026.2.0), opened at run time.
pub(crate) mod crypto_mb {
    use std::ffi::{c_char, c_int, c_void};
    use std::path::Path;

    use zeroize::Zeroize;

    /// Signatures in one call.
    pub(crate) const LANES: usize = 8;
    /// Octets of the longest modulus.
    pub(crate) const LONGEST: usize = 512;
    /// The major interface version of the header that these declarations were made from.
    const INTERFACE: c_int = 13;
    /// `MBX_ALGO_RSA_2K`, `_3K`, `_4K`, and their bits.
    const SIZES: [(c_int, usize); 3] = [(1, 2048), (2, 3072), (3, 4096)];

    type PublicMethod = unsafe extern "C" fn(c_int) -> *const c_void;
    type BufferSize = unsafe extern "C" fn(*const c_void) -> c_int;
    type AlgorithmWidth = unsafe extern "C" fn(c_int) -> u64;
    type GetVersion = unsafe extern "C" fn() -> *const Version;
    type Octets = *const *const u8;
    type Limbs = *const *const u64;
    #[rustfmt::skip]
    type PrivateCrt = unsafe extern "C" fn(Octets, *const *mut u8, Limbs, Limbs, Limbs, Limbs, Limbs, c_int, *const c_void, *mut u8) -> u32;
    #[rustfmt::skip]
    type Public65537 = unsafe extern "C" fn(Octets, *const *mut u8, Limbs, c_int, *const c_void, *mut u8) -> u32;

    /// `mbxVersion`; what comes after its strings is not read.
    #[repr(C)]
    struct Version {
        major: c_int,
        minor: c_int,
        patch: c_int,
        target_cpu: [c_char; 4],
        name: *const c_char,
        build_date: *const c_char,
        text: *const c_char,
    }

    /// What one lane of a private operation is given. Numbers are limbs, the lowest first.
    pub(crate) struct PrivateLane<'a> {
        /// The number to raise, big-endian, as long as the modulus.
        pub(crate) message: &'a [u8],
        /// p, q, dp, dq, qinv: each half as long as the modulus.
        pub(crate) key: [&'a [u64]; 5],
    }

    /// What one lane of a public operation is given.
    pub(crate) struct PublicLane<'a> {
        /// The number to raise, big-endian, as long as the modulus.
        pub(crate) signature: &'a [u8],
        /// The modulus.
        pub(crate) n: &'a [u64],
    }

    /// The methods of one size, and the octets of scratch memory that they want.
    #[derive(Clone, Copy)]
    struct Size {
        bits: usize,
        private: (*const c_void, usize),
        public: (*const c_void, usize),
    }

    /// Results of one call: as many octets of each lane count as the modulus has.
    pub(crate) type Results = [[u8; LONGEST]; LANES];

    /// Scratch memory, aligned for vectors, overwritten when it goes: the library leaves parts of the key in it.
    struct Scratch(Vec<Line>);

    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Line([u64; 8]);

    impl Scratch {
        fn new(octets: usize) -> Self {
            Self(vec![Line([0; 8]); octets.div_ceil(size_of::<Line>())])
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            self.0.iter_mut().for_each(|line| line.0.zeroize());
        }
    }

    /// The opened library.
    pub(crate) struct Library {
        private_crt: PrivateCrt,
        public_65537: Public65537,
        sizes: Vec<Size>,
        interface: (i32, i32),
        /// Keeps the code mapped: dropped after what points into it.
        _code: libloading::Library,
    }

    // SAFETY: the functions keep no state (their tables are constant, scratch memory is given with each call), and the
    // methods point to constants of the library, which stays mapped as long as `_code` lives.
    unsafe impl Send for Library {}
    // SAFETY: as above.
    unsafe impl Sync for Library {}

    impl Library {
        /// Opens the library at `path` (a bare name: where the dynamic linker looks) and finds what is called of it.
        ///
        /// # Errors
        /// In words: what is not there, or is not what it should be.
        pub(crate) fn open(path: &Path) -> Result<Self, String> {
            // SAFETY: opening runs the library's initialisers. Which file it is, is the word of who runs the bridge, as
            // with any library that the program is linked to; that its functions have the types given here is what the
            // interface version is asked for, and each result is checked by its caller.
            unsafe {
                let code = libloading::Library::new(path).map_err(|e| e.to_string())?;
                let version = *find::<GetVersion>(&code, "mbx_getversion")?;
                let version = version().as_ref().ok_or("it has no version")?;
                let interface = interface(version);
                if interface.0 != INTERFACE {
                    return Err(format!(
                        "it has interface {}, and {INTERFACE} is needed",
                        interface.0
                    ));
                }
                let width = *find::<AlgorithmWidth>(&code, "mbx_get_algo_info")?;
                let private = *find::<PublicMethod>(&code, "mbx_RSA_private_crt_Method")?;
                let public = *find::<PublicMethod>(&code, "mbx_RSA_pub65537_Method")?;
                let buffer = *find::<BufferSize>(&code, "mbx_RSA_Method_BufSize")?;
                let method = |make: PublicMethod, bits: usize| {
                    let method = make(c_int::try_from(bits).ok()?);
                    let size = (!method.is_null()).then(|| buffer(method))?;
                    Some((method, usize::try_from(size).ok().filter(|size| *size > 0)?))
                };
                let sizes = SIZES.iter().filter_map(|&(algorithm, bits)| {
                    // The width is a mask: eight lanes are what is called here.
                    (width(algorithm) & LANES as u64 != 0).then_some(())?;
                    Some(Size {
                        bits,
                        private: method(private, bits)?,
                        public: method(public, bits)?,
                    })
                });
                let sizes: Vec<Size> = sizes.collect();
                if sizes.is_empty() {
                    return Err("it supports no RSA on this CPU".to_owned());
                }
                Ok(Self {
                    private_crt: *find(&code, "mbx_rsa_private_crt_mb8")?,
                    public_65537: *find(&code, "mbx_rsa_public_mb8")?,
                    sizes,
                    interface,
                    _code: code,
                })
            }
        }

        /// Whether keys of so many bits can be used.
        pub(crate) fn supports(&self, bits: usize) -> bool {
            self.size(bits).is_some()
        }

        /// The interface version, major and minor.
        pub(crate) fn interface(&self) -> (i32, i32) {
            self.interface
        }

        fn size(&self, bits: usize) -> Option<Size> {
            self.sizes.iter().find(|size| size.bits == bits).copied()
        }

        /// Raises each lane's message to its private exponent, by the Chinese remainder theorem. [`None`]: the library
        /// does not take this size, or refused a lane. The results are **not** checked.
        ///
        /// # Panics
        /// For more than eight lanes, and for members of another length than the size has.
        pub(crate) fn private_crt(
            &self,
            bits: usize,
            lanes: &[PrivateLane<'_>],
        ) -> Option<Results> {
            let size = self.size(bits)?;
            assert!((1..=LANES).contains(&lanes.len()), "one to eight lanes");
            for lane in lanes {
                assert_eq!(lane.message.len(), bits / 8, "octets of a message");
                assert!(
                    lane.key.iter().all(|part| part.len() == bits / 128),
                    "limbs"
                );
            }
            let mut results: Results = [[0; LONGEST]; LANES];
            let to = results.each_mut().map(|result| result.as_mut_ptr());
            let from = lane_pointers(lanes, |lane| lane.message.as_ptr());
            let [p, q, dp, dq, qinv] =
                [0, 1, 2, 3, 4].map(|part| lane_pointers(lanes, |lane| lane.key[part].as_ptr()));
            let mut scratch = Scratch::new(size.private.1);
            // SAFETY: each array has eight pointers. Those of the lanes in use point to as many octets and limbs as the
            // library reads for `bits` (asserted above), all of which outlive the call; those of lanes not in use are
            // null, which the library skips and reports in that lane's status. Each result has room for the longest
            // modulus, scratch memory is as long as the method asks, and aligned to 64 octets.
            let status = unsafe {
                (self.private_crt)(
                    from.as_ptr(),
                    to.as_ptr(),
                    p.as_ptr(),
                    q.as_ptr(),
                    dp.as_ptr(),
                    dq.as_ptr(),
                    qinv.as_ptr(),
                    bits as c_int,
                    size.private.0,
                    scratch.0.as_mut_ptr().cast(),
                )
            };
            good(status, lanes.len()).then_some(results)
        }

        /// Raises each lane's signature to 65537. [`None`] and panics as [`Self::private_crt`].
        pub(crate) fn public_65537(
            &self,
            bits: usize,
            lanes: &[PublicLane<'_>],
        ) -> Option<Results> {
            let size = self.size(bits)?;
            assert!((1..=LANES).contains(&lanes.len()), "one to eight lanes");
            for lane in lanes {
                assert_eq!(lane.signature.len(), bits / 8, "octets of a signature");
                assert_eq!(lane.n.len(), bits / 64, "limbs of a modulus");
            }
            let mut results: Results = [[0; LONGEST]; LANES];
            let to = results.each_mut().map(|result| result.as_mut_ptr());
            let from = lane_pointers(lanes, |lane| lane.signature.as_ptr());
            let n = lane_pointers(lanes, |lane| lane.n.as_ptr());
            let mut scratch = Scratch::new(size.public.1);
            // SAFETY: as in `private_crt`.
            let status = unsafe {
                (self.public_65537)(
                    from.as_ptr(),
                    to.as_ptr(),
                    n.as_ptr(),
                    bits as c_int,
                    size.public.0,
                    scratch.0.as_mut_ptr().cast(),
                )
            };
            good(status, lanes.len()).then_some(results)
        }
    }

    /// One pointer for each lane; null where there is none.
    fn lane_pointers<L, T>(lanes: &[L], of: impl Fn(&L) -> *const T) -> [*const T; LANES] {
        std::array::from_fn(|lane| lanes.get(lane).map_or(std::ptr::null(), &of))
    }

    /// A status has four bits for each lane, 0 is good.
    fn good(status: u32, lanes: usize) -> bool {
        (0..lanes).all(|lane| status >> (4 * lane) & 0xf == 0)
    }

    /// Major and minor interface version, out of `crypto_mb (k1) (ver: 2.3.0 (13.3) build: …)`: the struct has no number for it.
    ///
    /// # Safety
    /// The version's text is null or ends with a zero octet.
    unsafe fn interface(version: &Version) -> (i32, i32) {
        if version.text.is_null() {
            return (0, 0);
        }
        // SAFETY: the caller's promise.
        let text = unsafe { super::CStr::from_ptr(version.text) }.to_string_lossy();
        let inner = text
            .rsplit_once('(')
            .and_then(|(_, rest)| rest.split_once(')'));
        let numbers = inner.and_then(|(numbers, _)| numbers.split_once('.'));
        let numbers = numbers.map(|(major, minor)| (major.parse(), minor.parse()));
        match numbers {
            Some((Ok(major), Ok(minor))) => (major, minor),
            _ => (0, 0),
        }
    }

    /// # Safety
    /// The symbol has the type `T`.
    unsafe fn find<'a, T>(
        code: &'a libloading::Library,
        name: &str,
    ) -> Result<libloading::Symbol<'a, T>, String> {
        // SAFETY: the caller's promise.
        unsafe { code.get(name.as_bytes()) }.map_err(|_| format!("it has no {name}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};

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
    fn what_is_null_is_not_freed() {
        unsafe extern "C" fn count(object: *mut AtomicU32) {
            // SAFETY: a pointer to null would be the mistake that this test looks for, and ends it.
            unsafe { &*object }.fetch_add(1, Ordering::Relaxed);
        }
        assert!(Owned::new(std::ptr::null_mut(), count).is_none());
        let mut freed = AtomicU32::new(0);
        drop(Owned::new(&raw mut freed, count));
        assert_eq!(freed.into_inner(), 1);
    }

    /// That no broker is there is told of no partition.
    #[test]
    fn what_is_about_no_partition_is_nothing() {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", "127.0.0.1:1")
            .set("group.id", "g")
            .create()
            .expect("a consumer");
        let until = Instant::now() + Duration::from_secs(20);
        let mut heard = 0;
        // One event tells of the connection, another that it was the only broker's.
        while heard < 2 {
            assert!(Instant::now() < until, "nothing is told");
            let asked = Instant::now();
            assert_eq!(meet(consumer.client(), Duration::from_secs(1)), None);
            heard += u32::from(asked.elapsed() < Duration::from_secs(1));
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
