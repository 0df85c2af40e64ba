/* SPDX-License-Identifier: MIT */
/*
 * What the benchmark puts on a relay: both of its ends. Every byte that comes out
 * is compared with what went in, and what was measured is one line of JSON.
 *
 * Both ends are in one process and one thread, which so knows what each has sent
 * and when. Only bulk has a process for each: one thread for both would be what
 * limits a relay that is good.
 *
 * A session begins with its number, in four bytes from its client, because a
 * relay connects to a target in any order. All after that is the pattern, at a
 * place of it that depends on session and direction.
 */
#include <bluetooth/bluetooth.h>
#include <bluetooth/hci.h>
#include <bluetooth/hci_lib.h>
#include <bluetooth/rfcomm.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PATTERN_BYTES (1024 * 1024 + 7) /* no multiple of any buffer */
#define CHUNK_BYTES (64 * 1024)
#define EVENTS_MAX 256
#define HELLO_BYTES 4
/* A link that has just ended may be in the way for so long, at most. */
#define BUSY_MS 5000
#define BUSY_STEP_MS 20
/* A pty comes so late after its client, at most. */
#define PTY_MS 5000
/* More on their way through a relay might be more than it lets wait. */
#define UNKNOWN_MAX 64
/* Nothing moved for so long: the relay is broken, or this program is. */
#define STANDSTILL_MS 60000

static const char usage_text[] =
	"usage: load bulk CLIENT TARGET -s SESSIONS -b BYTES -d up|down|both\n"
	"       load ping CLIENT TARGET -s SESSIONS -b BYTES -t SECONDS [-r RATE]\n"
	"            [-i IDLE]\n"
	"       load churn CLIENT TARGET -s AT-ONCE -t SECONDS [-i IDLE]\n"
	"       load idle CLIENT TARGET -s SESSIONS [-b BURST-BYTES]\n"
	"       load stall CLIENT TARGET -s SESSIONS -b BYTES -d up|down|both\n"
	"\n"
	"CLIENT is what the relay listens at, TARGET what it connects to, or \"echo\" if\n"
	"what is behind it answers by itself:\n"
	"  tcp:PORT unix:PATH pty:PATH rfcomm:ADDRESS/CHANNEL (as target: rfcomm:CHANNEL)\n"
	"Clients over RFCOMM call from hci1, hci2 and so on, one session each.\n"
	"\n"
	"bulk   BYTES a session and direction; holds the sessions until its input ends\n"
	"ping   requests of BYTES, one after the other's answer, or RATE a second of\n"
	"       each session, whose time counts from when they were due\n"
	"churn  connections one after the other, each with one byte there and back\n"
	"-w     says nothing for so many ms first: to what loses what comes at once\n"
	"-i     beside IDLE more sessions; says \"idle\" when all are there, begins\n"
	"       with a line from its input, and holds them until that ends\n"
	"idle   opens SESSIONS, says \"idle\", and holds them until its input ends\n"
	"stall  offers BYTES a session and direction to who does not read; says how much\n"
	"       was taken, and holds the sessions until its input ends\n";

enum mode { MODE_BULK, MODE_PING, MODE_CHURN, MODE_IDLE, MODE_STALL };
static const char *const mode_names[] = { "bulk", "ping", "churn", "idle",
					  "stall" };

/* What goes one way. */
struct flow {
	uint64_t total; /* to be sent */
	uint64_t sent;
	uint64_t received;
	uint32_t base; /* its place in the pattern */
};

struct session;

struct end {
	int fd; /* -1: not there */
	bool is_client;
	uint32_t events; /* what epoll watches it for */
	struct session *session; /* of a target: NULL before its number came */
	uint8_t hello[HELLO_BYTES];
	size_t hello_bytes; /* sent, or received */
};

struct session {
	uint32_t number;
	struct end client, *target;
	struct flow up, down;
	bool is_done; /* all has been sent and received that this process has to */
	/* When the requests were due that are not answered yet, in order. */
	uint64_t *due_ns;
	size_t due_first, due_count, due_max;
	uint64_t next_due_ns;
};

static struct {
	enum mode mode;
	const char *client, *target;
	unsigned int sessions; /* that do something */
	unsigned int idle_sessions; /* beside them, with higher numbers */
	bool is_staged; /* waits for a word before it measures */
	uint64_t bytes;
	bool goes_up, goes_down;
	double seconds;
	unsigned int silent_ms;
	double rate; /* requests a second and session; 0: closed loop */
} job = { .sessions = 1, .bytes = 1, .goes_up = true, .seconds = 1 };

/*
 * With bulk, which ends are this process's. The two tell each other, in packets:
 * the targets' process each session that came out, the clients' one when to begin,
 * and the former, last, what it has measured.
 */
enum part { PART_ALL, PART_CLIENTS, PART_TARGETS };
static enum part part;
static int partner = -1;
static struct moment {
	uint64_t ns;
	uint64_t cpu_ns; /* of this process; of partner_done, since it began */
} begun, partner_done;
static bool is_begun, is_partner_done;

static uint8_t pattern[PATTERN_BYTES];
static int poller, listener = -1, ticker = -1;
static int target_terminal = -1; /* a pty that was there before the first client */
static struct session *sessions;
static unsigned int sessions_done, sessions_known;
static uint64_t moved; /* bytes sent and received, to see that it goes on */
static uint64_t end_ns; /* no request after it */
static uint64_t connections;
static struct {
	uint64_t *ns;
	size_t count, max;
} latencies;

static void fatal(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));
static void fatal(const char *format, ...)
{
	va_list args;

	fputs("load: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct moment moment_now(void)
{
	struct timespec spent;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	return (struct moment){
		.ns = now_ns(),
		.cpu_ns = (uint64_t)spent.tv_sec * 1000000000u +
			  (uint64_t)spent.tv_nsec,
	};
}

static void *grow(void *array, size_t count, size_t *max, size_t size)
{
	if (count < *max)
		return array;
	*max = *max ? *max * 2 : 64;
	array = realloc(array, *max * size);
	if (!array)
		fatal("out of memory");
	return array;
}

/* ---- the pattern ------------------------------------------------------------ */

static void fill_pattern(void)
{
	uint64_t x = 88172645463325252u; /* xorshift64; any seed but 0 */

	for (size_t i = 0; i < sizeof(pattern); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		pattern[i] = (uint8_t)x;
	}
}

/* What is contiguous of the pattern at @position of @flow, at most @bytes. */
static const uint8_t *pattern_at(const struct flow *flow, uint64_t position,
				 size_t *bytes)
{
	size_t at = (size_t)((position + flow->base) % PATTERN_BYTES);

	if (*bytes > PATTERN_BYTES - at)
		*bytes = PATTERN_BYTES - at;
	return pattern + at;
}

static void compare(struct flow *flow, const struct session *session,
		    const uint8_t *data, size_t bytes)
{
	while (bytes) {
		size_t piece = bytes;
		const uint8_t *expected =
			pattern_at(flow, flow->received, &piece);

		if (memcmp(expected, data, piece) != 0)
			fatal("session %u: other bytes came out, within %zu of "
			      "%llu",
			      session->number, piece,
			      (unsigned long long)flow->received);
		flow->received += piece;
		moved += piece;
		data += piece;
		bytes -= piece;
	}
	if (flow->received > flow->sent)
		fatal("session %u: more came out than went in",
		      session->number);
}

/* ---- ends ------------------------------------------------------------------- */

static bool is_kind(const char *text, const char *kind, const char **rest)
{
	size_t length = strlen(kind);

	if (strncmp(text, kind, length) != 0 || text[length] != ':')
		return false;
	*rest = text + length + 1;
	return true;
}

static int open_pty(const char *path)
{
	struct termios modes;
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		fatal("cannot open %s: %s", path, strerror(errno));
	if (tcgetattr(fd, &modes) < 0)
		fatal("%s is no terminal", path);
	cfmakeraw(&modes);
	tcsetattr(fd, TCSANOW, &modes);
	return fd;
}

/* The address of @text as a client's or, with @is_listen, as a target's. */
static socklen_t read_address(const char *text, bool is_listen,
			      struct sockaddr_storage *address)
{
	const char *rest, *slash;

	memset(address, 0, sizeof(*address));
	if (is_kind(text, "tcp", &rest)) {
		struct sockaddr_in *in = (struct sockaddr_in *)address;

		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in->sin_port = htons((uint16_t)atoi(rest));
		return sizeof(*in);
	}
	if (is_kind(text, "unix", &rest)) {
		struct sockaddr_un *un = (struct sockaddr_un *)address;

		un->sun_family = AF_UNIX;
		if (strlen(rest) >= sizeof(un->sun_path))
			fatal("%s is too long", rest);
		strcpy(un->sun_path, rest);
		if (is_listen)
			unlink(rest);
		return sizeof(*un);
	}
	if (is_kind(text, "rfcomm", &rest)) {
		struct sockaddr_rc *rc = (struct sockaddr_rc *)address;

		slash = strchr(rest, '/');
		rc->rc_family = AF_BLUETOOTH;
		rc->rc_channel = (uint8_t)atoi(slash ? slash + 1 : rest);
		if (!is_listen) {
			char device[18];

			snprintf(device, sizeof(device), "%s", rest);
			str2ba(device, &rc->rc_bdaddr);
		}
		return sizeof(*rc);
	}
	fatal("what is \"%s\"? See load --help", text);
}

static int open_socket(const struct sockaddr_storage *address)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC,
			address->ss_family == AF_BLUETOOTH ? BTPROTO_RFCOMM
							   : 0);

	if (fd < 0)
		fatal("cannot make a socket: %s", strerror(errno));
	return fd;
}

static void prepare_stream(int fd, int family)
{
	int one = 1;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (family == AF_INET)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void sleep_ms(unsigned int ms)
{
	const struct timespec time = {
		.tv_sec = ms / 1000,
		.tv_nsec = (long)(ms % 1000) * 1000000,
	};

	nanosleep(&time, NULL);
}

/* A phone has one link to a channel at most: each session is another's. */
static void bind_phone(int fd, unsigned int number)
{
	struct sockaddr_rc phone = { .rc_family = AF_BLUETOOTH };

	if (hci_devba(1 + (int)number, &phone.rc_bdaddr) < 0)
		fatal("there is no hci%u to call from", 1 + number);
	if (bind(fd, (struct sockaddr *)&phone, sizeof(phone)) < 0)
		fatal("cannot call from hci%u: %s", 1 + number,
		      strerror(errno));
}

static int open_client(unsigned int number)
{
	struct sockaddr_storage address;
	unsigned int waited_ms = 0;
	const char *path;
	socklen_t length;
	int fd;

	if (is_kind(job.client, "pty", &path))
		return open_pty(path);
	length = read_address(job.client, false, &address);
	fd = open_socket(&address);
	if (address.ss_family == AF_BLUETOOTH)
		bind_phone(fd, number);
	while (connect(fd, (struct sockaddr *)&address, length) < 0) {
		if (errno == EBUSY && waited_ms < BUSY_MS) {
			sleep_ms(BUSY_STEP_MS);
			waited_ms += BUSY_STEP_MS;
		} else if (errno != EINTR) {
			fatal("cannot connect to %s: %s", job.client,
			      strerror(errno));
		}
	}
	prepare_stream(fd, address.ss_family);
	return fd;
}

static int open_listener(void)
{
	struct sockaddr_storage address;
	socklen_t length = read_address(job.target, true, &address);
	int one = 1, fd = open_socket(&address);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, length) < 0 ||
	    listen(fd, 4096) < 0)
		fatal("cannot listen at %s: %s", job.target, strerror(errno));
	prepare_stream(fd, AF_UNSPEC);
	return fd;
}

static void watch(struct end *end, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = end };

	if (events == end->events)
		return;
	if (epoll_ctl(poller, EPOLL_CTL_MOD, end->fd, &event) < 0)
		fatal("epoll_ctl: %s", strerror(errno));
	end->events = events;
}

static void add(struct end *end, int fd, bool is_client)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = end };

	end->fd = fd;
	end->is_client = is_client;
	end->events = EPOLLIN;
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
		fatal("epoll_ctl: %s", strerror(errno));
}

/* A descriptor that is not of an end, if it is there; known by where it is. */
static void add_own(int *fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };

	if (*fd >= 0 && epoll_ctl(poller, EPOLL_CTL_ADD, *fd, &event) < 0)
		fatal("epoll_ctl: %s", strerror(errno));
}

static void end_close(struct end *end)
{
	if (end && end->fd >= 0)
		close(end->fd);
	if (end)
		end->fd = -1;
}

/* The targets that the relay has connected to. */
static void accept_all(void)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct end *end;

		if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED ||
			       errno == EINTR))
			return;
		if (fd < 0)
			fatal("cannot accept: %s", strerror(errno));
		end = calloc(1, sizeof(*end));
		if (!end)
			fatal("out of memory");
		prepare_stream(fd, AF_INET);
		add(end, fd, false);
	}
}

/* ---- sessions --------------------------------------------------------------- */

static bool has_target(void) { return strcmp(job.target, "echo") != 0; }

/* The path, or NULL: what the relay connects to is a socket, or echo. */
static const char *target_pty(void)
{
	const char *path;

	return is_kind(job.target, "pty", &path) ? path : NULL;
}

static unsigned int sessions_all(void)
{
	return job.sessions + job.idle_sessions;
}

static void session_set_base(struct session *session)
{
	session->up.base = session->number * 4099;
	session->down.base = session->up.base + 500009;
	if (!has_target() || job.mode == MODE_PING || job.mode == MODE_CHURN)
		session->down.base = session->up.base; /* what comes back */
}

static struct flow *flow_from(const struct end *end)
{
	return end->is_client ? &end->session->up : &end->session->down;
}

static struct flow *flow_to(const struct end *end)
{
	return end->is_client ? &end->session->down : &end->session->up;
}

/* All that it has to send, and all that is to come. */
static bool end_is_done(const struct end *end)
{
	const struct flow *from = flow_from(end), *to = flow_to(end);

	return from->sent == from->total && to->received == to->total;
}

static void session_check_done(struct session *session)
{
	if (session->is_done || (job.mode == MODE_BULK && !is_begun))
		return;
	if (part != PART_TARGETS && !end_is_done(&session->client))
		return;
	if (part != PART_CLIENTS && has_target() &&
	    (!session->target || !end_is_done(session->target)))
		return;
	session->is_done = true;
	sessions_done++;
}

static void end_send(struct end *end)
{
	uint32_t events = job.mode == MODE_STALL ? 0 : EPOLLIN;
	struct flow *flow = flow_from(end);

	while (end->is_client && end->hello_bytes < HELLO_BYTES) {
		ssize_t n = write(end->fd, end->hello + end->hello_bytes,
				  HELLO_BYTES - end->hello_bytes);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			fatal("cannot write: %s", strerror(errno));
		end->hello_bytes += (size_t)n;
	}
	while (flow->sent < flow->total &&
	       (!end->is_client || end->hello_bytes == HELLO_BYTES)) {
		size_t bytes = CHUNK_BYTES;
		const uint8_t *data;
		ssize_t n;

		if (bytes > flow->total - flow->sent)
			bytes = (size_t)(flow->total - flow->sent);
		data = pattern_at(flow, flow->sent, &bytes);
		n = write(end->fd, data, bytes);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			fatal("cannot write to session %u: %s",
			      end->session->number, strerror(errno));
		flow->sent += (uint64_t)n;
		moved += (uint64_t)n;
	}
	if (job.mode == MODE_BULK)
		session_check_done(end->session);
	if (flow->sent < flow->total ||
	    (end->is_client && end->hello_bytes < HELLO_BYTES))
		events |= EPOLLOUT;
	watch(end, events);
}

static void session_request(struct session *session, uint64_t due_ns)
{
	if (session->due_first == session->due_count)
		session->due_first = session->due_count = 0;
	session->due_ns = grow(session->due_ns, session->due_count,
			       &session->due_max, sizeof(*session->due_ns));
	session->due_ns[session->due_count++] = due_ns;
	session->up.total += job.bytes;
	end_send(&session->client);
}

static void session_answered(struct session *session)
{
	uint64_t now = now_ns();

	while (session->due_first < session->due_count &&
	       session->down.received >=
		       session->up.total -
			       (session->due_count - session->due_first - 1) *
				       job.bytes) {
		latencies.ns = grow(latencies.ns, latencies.count,
				    &latencies.max, sizeof(*latencies.ns));
		latencies.ns[latencies.count++] =
			now - session->due_ns[session->due_first++];
	}
	if (session->due_first < session->due_count)
		return;
	if (now >= end_ns || session->next_due_ns == UINT64_MAX)
		sessions_done++;
	else if (job.rate == 0)
		session_request(session, now);
}

static void session_start(struct session *session, unsigned int number)
{
	session->number = number;
	session_set_base(session);
	add(&session->client, open_client(number), true);
	sleep_ms(job.silent_ms);
	session->client.session = session;
	session->client.hello_bytes = has_target() ? 0 : HELLO_BYTES;
	memcpy(session->client.hello, &session->number, HELLO_BYTES);
	/* The others are asked for once all are there. */
	if (job.mode == MODE_IDLE || (job.mode == MODE_STALL && job.goes_up))
		session->up.total = job.bytes;
	end_send(&session->client);
}

static void session_churned(struct session *session)
{
	unsigned int number = session->number;

	connections++;
	end_close(&session->client);
	if (session->target) {
		/* Its end comes; nobody asks for it any more. */
		session->target->session = NULL;
		session->target->hello_bytes = HELLO_BYTES + 1;
	}
	free(session->due_ns);
	memset(session, 0, sizeof(*session));
	if (now_ns() >= end_ns) {
		session->client.fd = -1;
		sessions_done++;
		return;
	}
	session_start(session, number);
	session_request(session, now_ns());
}

static void tell_partner(const void *data, size_t bytes)
{
	if (send(partner, data, bytes, 0) < 0)
		exit(1); /* it has gone, and said why */
}

/* A target's session is known now. */
static void session_known(struct session *session)
{
	sessions_known++;
	if (part == PART_TARGETS)
		tell_partner("", 1);
	if (job.mode == MODE_IDLE || (job.mode == MODE_STALL && job.goes_down))
		session->down.total = job.bytes;
	end_send(session->target);
}

static void session_received(struct end *end)
{
	struct session *session = end->session;

	switch (job.mode) {
	case MODE_PING:
	case MODE_CHURN:
		if (!end->is_client) {
			session->down.total = session->up.received;
			end_send(end);
		} else if (job.mode == MODE_CHURN) {
			if (session->down.received == session->up.total)
				session_churned(session);
		} else {
			session_answered(session);
		}
		break;
	default:
		session_check_done(session);
		break;
	}
}

static struct session *session_of_number(const uint8_t hello[HELLO_BYTES])
{
	uint32_t number;

	memcpy(&number, hello, sizeof(number));
	if (number >= sessions_all())
		fatal("a session with the number %u came out", number);
	return &sessions[number];
}

/* The number of the session that it is of; false if more of it is to come. */
static bool end_greeted(struct end *end, const uint8_t **data, size_t *bytes)
{
	while (*bytes && end->hello_bytes < HELLO_BYTES) {
		end->hello[end->hello_bytes++] = *(*data)++;
		(*bytes)--;
	}
	if (end->hello_bytes < HELLO_BYTES)
		return false;
	end->session = session_of_number(end->hello);
	end->session->target = end;
	session_known(end->session);
	return true;
}

static void end_ended(struct end *end, int code)
{
	if (job.mode != MODE_CHURN || end->is_client)
		fatal("the %s of a session has gone: %s",
		      end->is_client ? "client" : "target",
		      code ? strerror(code) : "end of file");
	end_close(end);
	if (end->session)
		end->session->target = NULL;
	free(end);
}

static void end_receive(struct end *end)
{
	static uint8_t buffer[CHUNK_BYTES];
	const uint8_t *data = buffer;
	ssize_t n = read(end->fd, buffer, sizeof(buffer));
	size_t bytes = n > 0 ? (size_t)n : 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end_ended(end, n < 0 ? errno : 0);
		return;
	}
	if (end->hello_bytes > HELLO_BYTES) /* of a connection that is over */
		return;
	if (!end->is_client && !end->session &&
	    !end_greeted(end, &data, &bytes))
		return;
	if (bytes == 0)
		return;
	if (!has_target())
		flow_to(end)->sent = end->session->up.sent;
	compare(flow_to(end), end->session, data, bytes);
	if (!has_target())
		end->session->up.received = end->session->down.received;
	session_received(end);
}

/* ---- a process for each end ---------------------------------------------------- */

/* From here on all may send. */
static void bulk_begin(void)
{
	const uint64_t up = job.goes_up ? job.bytes : 0;
	const uint64_t down = job.goes_down ? job.bytes : 0;

	is_begun = true;
	begun = moment_now();
	if (part == PART_CLIENTS)
		tell_partner("", 1);
	for (unsigned int i = 0; i < job.sessions; i++) {
		struct session *session = &sessions[i];

		session->up.total = up;
		session->down.total = has_target() ? down : up;
		/* As far as is known here; the other process sends it. */
		if (part == PART_CLIENTS)
			session->down.sent = down;
		if (part != PART_TARGETS)
			end_send(&session->client);
		if (session->target)
			end_send(session->target);
	}
}

static void partner_said(void)
{
	struct moment said;
	ssize_t n = recv(partner, &said, sizeof(said), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n == sizeof(said)) {
		partner_done = said;
		is_partner_done = true;
	} else if (n != 1) {
		exit(1); /* it has gone, and said why */
	} else if (part == PART_CLIENTS) {
		sessions_known++;
	} else {
		bulk_begin();
	}
}

/* The targets are another process's from here on. */
static void split(void)
{
	int *const of_targets[] = { &listener, &target_terminal };
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ||
	    (pid = fork()) < 0)
		fatal("cannot make a second process: %s", strerror(errno));
	part = pid ? PART_CLIENTS : PART_TARGETS;
	partner = ends[part == PART_TARGETS];
	close(ends[part == PART_CLIENTS]);
	for (size_t i = 0; part == PART_CLIENTS && i < 2; i++) {
		if (*of_targets[i] >= 0)
			close(*of_targets[i]);
		*of_targets[i] = -1;
	}
}

/* ---- the loop --------------------------------------------------------------- */

static void ticker_start(void)
{
	/* The rate's own steps, but no finer than 0.1 ms: all that is due then
	 * is asked for, with the time when it was due. */
	const struct itimerspec each = {
		.it_interval.tv_nsec = 100000,
		.it_value.tv_nsec = 100000,
	};

	ticker = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	timerfd_settime(ticker, 0, &each, NULL);
	add_own(&ticker);
}

static void ticked(void)
{
	const uint64_t step = (uint64_t)(1e9 / job.rate);
	uint64_t expirations, now = now_ns();

	if (read(ticker, &expirations, sizeof(expirations)) < 0)
		return;
	for (unsigned int i = 0; i < job.sessions; i++) {
		struct session *session = &sessions[i];

		while (session->next_due_ns <= now &&
		       session->next_due_ns < end_ns) {
			session_request(session, session->next_due_ns);
			session->next_due_ns += step;
		}
		if (session->next_due_ns >= end_ns &&
		    session->next_due_ns != UINT64_MAX) {
			session->next_due_ns = UINT64_MAX;
			if (session->due_first == session->due_count)
				sessions_done++;
		}
	}
}

/* One turn; false when nothing has come for @patience_ms. */
static bool turn(int patience_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(poller, events, EVENTS_MAX, patience_ms);

	for (int i = 0; i < count; i++) {
		struct end *end = events[i].data.ptr;

		if (events[i].data.ptr == &listener) {
			accept_all();
		} else if (events[i].data.ptr == &ticker) {
			ticked();
		} else if (events[i].data.ptr == &partner) {
			partner_said();
		} else if (end->fd >= 0) {
			if ((events[i].events & EPOLLOUT) && end->session)
				end_send(end);
			if (events[i].events & ~(uint32_t)EPOLLOUT)
				end_receive(end);
		}
	}
	return count != 0;
}

static void run_until_done(void)
{
	uint64_t seen = 0, since = now_ns();

	while (sessions_done < job.sessions) {
		turn(STANDSTILL_MS);
		if (moved != seen) {
			seen = moved;
			since = now_ns();
		} else if (now_ns() - since > STANDSTILL_MS * 1000000ull) {
			fatal("nothing moves any more, %u of %u sessions done",
			      sessions_done, job.sessions);
		}
	}
}

static void await_known(unsigned int count)
{
	while (has_target() && sessions_known < count)
		if (!turn(STANDSTILL_MS))
			fatal("%u of %u sessions came out", sessions_known,
			      count);
}

static void await_true(const bool *is_so, const char *otherwise)
{
	while (!*is_so)
		if (!turn(STANDSTILL_MS))
			fatal("%s", otherwise);
}

static void add_target_terminal(void)
{
	struct end *end = calloc(1, sizeof(*end));

	if (!end)
		fatal("out of memory");
	add(end, target_terminal, false);
}

/* The relay makes it with its client, which has been there for @ms at most. */
static void await_target_terminal(unsigned int ms)
{
	const uint64_t until = now_ns() + (ms + PTY_MS) * 1000000ull;

	while (access(target_pty(), F_OK) < 0) {
		if (now_ns() > until)
			fatal("%s does not come", target_pty());
		turn(BUSY_STEP_MS);
	}
	target_terminal = open_pty(target_pty());
	add_target_terminal();
}

static void open_sessions(void)
{
	if (target_terminal >= 0)
		add_target_terminal();
	for (unsigned int i = 0; i < sessions_all(); i++) {
		session_start(&sessions[i], i);
		if (part == PART_ALL && target_pty() && target_terminal < 0)
			await_target_terminal(0);
		turn(0);
		await_known(i + 1 > UNKNOWN_MAX ? i + 1 - UNKNOWN_MAX : 0);
	}
}

/* ---- what it says ----------------------------------------------------------- */

static int compare_u64(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double latency_us(double share)
{
	return (double)latencies.ns[(size_t)(share *
					     (double)(latencies.count - 1))] /
	       1000;
}

static void hold(void)
{
	char byte;

	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static void await_word(void)
{
	char word[16];

	if (!job.is_staged)
		return;
	printf("idle\n");
	fflush(stdout);
	if (!fgets(word, sizeof(word), stdin))
		exit(1); /* whoever wanted it has gone */
}

/* It ends with its partner: until then its ends of the sessions are needed. */
static void run_targets(void)
{
	struct moment done;
	char byte;

	for (unsigned int i = 0; i < job.sessions; i++) {
		sessions[i].number = i;
		session_set_base(&sessions[i]);
		/* It comes as soon as the other process has begun. */
		if (job.goes_up)
			sessions[i].up.sent = sessions[i].up.total = job.bytes;
	}
	if (target_terminal >= 0)
		add_target_terminal();
	else if (target_pty())
		await_target_terminal(BUSY_MS + job.silent_ms);
	await_true(&is_begun, "nobody has begun");
	run_until_done();
	done = moment_now();
	done.cpu_ns -= begun.cpu_ns;
	tell_partner(&done, sizeof(done));
	while (recv(partner, &byte, 1, 0) < 0 && errno == EINTR)
		;
	exit(0);
}

static void run_bulk(void)
{
	const unsigned int ways = job.goes_up + (job.goes_down && has_target());
	struct moment done;

	if (part == PART_TARGETS)
		run_targets();
	open_sessions();
	await_known(sessions_all());
	bulk_begin();
	run_until_done();
	done = moment_now();
	done.cpu_ns -= begun.cpu_ns;
	if (part == PART_CLIENTS) {
		await_true(&is_partner_done, "the targets are not done");
		done.cpu_ns += partner_done.cpu_ns;
		if (done.ns < partner_done.ns)
			done.ns = partner_done.ns;
	}
	printf("{\"seconds\": %.6f, \"bytes\": %llu, \"cpu_seconds\": %.6f}\n",
	       (double)(done.ns - begun.ns) / 1e9,
	       (unsigned long long)job.bytes * job.sessions * ways,
	       (double)done.cpu_ns / 1e9);
	hold();
}

static void run_ping(void)
{
	uint64_t start;

	open_sessions();
	await_known(sessions_all());
	await_word();
	start = now_ns();
	end_ns = start + (uint64_t)(job.seconds * 1e9);
	for (unsigned int i = 0; i < job.sessions; i++) {
		/* Not all at the same moment. */
		if (job.rate > 0)
			sessions[i].next_due_ns =
				start + (uint64_t)(1e9 / job.rate * i /
						   job.sessions);
		else
			session_request(&sessions[i], start);
	}
	if (job.rate > 0)
		ticker_start();
	run_until_done();
	qsort(latencies.ns, latencies.count, sizeof(*latencies.ns),
	      compare_u64);
	printf("{\"seconds\": %.6f, \"requests\": %zu, \"p50_us\": %.1f, "
	       "\"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
	       (double)(now_ns() - start) / 1e9, latencies.count,
	       latency_us(0.5), latency_us(0.9), latency_us(0.99),
	       latency_us(1));
}

static void run_churn(void)
{
	uint64_t start;

	job.bytes = 1;
	end_ns = UINT64_MAX; /* not before it has begun */
	open_sessions();
	await_known(sessions_all());
	await_word();
	start = now_ns();
	end_ns = start + (uint64_t)(job.seconds * 1e9);
	for (unsigned int i = 0; i < job.sessions; i++)
		if (sessions[i].up.total == 0)
			session_request(&sessions[i], start);
	run_until_done();
	printf("{\"seconds\": %.6f, \"connections\": %llu}\n",
	       (double)(now_ns() - start) / 1e9,
	       (unsigned long long)connections);
}

static void run_idle(void)
{
	open_sessions();
	await_known(sessions_all());
	if (job.bytes)
		run_until_done();
	printf("idle\n");
	hold();
}

static void run_stall(void)
{
	uint64_t taken = 0, before;

	open_sessions();
	await_known(sessions_all());
	/* Until the last second has brought nothing more. */
	do {
		uint64_t until = now_ns() + 1000000000u;

		before = taken;
		while (now_ns() < until)
			turn(100);
		taken = 0;
		for (unsigned int i = 0; i < job.sessions; i++)
			taken += sessions[i].up.sent + sessions[i].down.sent;
	} while (taken != before);
	printf("{\"taken\": %llu}\n", (unsigned long long)taken);
	hold();
}

static void read_options(int argc, char **argv)
{
	int option;

	if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage_text, stdout);
		exit(0);
	}
	if (argc < 4)
		goto usage;
	for (job.mode = MODE_BULK;
	     strcmp(argv[1], mode_names[job.mode]) != 0; job.mode++)
		if (job.mode == MODE_STALL)
			goto usage;
	job.client = argv[2];
	job.target = argv[3];
	if (job.mode == MODE_IDLE)
		job.bytes = 0;
	optind = 4;
	while ((option = getopt(argc, argv, "s:b:d:t:r:i:w:")) != -1) {
		switch (option) {
		case 's':
			job.sessions = (unsigned int)atoi(optarg);
			break;
		case 'b':
			job.bytes = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			job.goes_up = strcmp(optarg, "down") != 0;
			job.goes_down = strcmp(optarg, "up") != 0;
			break;
		case 't':
			job.seconds = atof(optarg);
			break;
		case 'r':
			job.rate = atof(optarg);
			break;
		case 'w':
			job.silent_ms = (unsigned int)atoi(optarg);
			break;
		case 'i':
			job.idle_sessions = (unsigned int)atoi(optarg);
			job.is_staged = true;
			break;
		default:
			goto usage;
		}
	}
	if (job.sessions && optind == argc)
		return;
usage:
	fputs(usage_text, stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static void (*const runs[])(void) = { run_bulk, run_ping, run_churn,
					      run_idle, run_stall };
	struct rlimit files;

	read_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	fill_pattern();
	sessions = calloc(sessions_all(), sizeof(*sessions));
	if (!sessions)
		fatal("out of memory");
	if (target_pty() && access(target_pty(), F_OK) == 0)
		target_terminal = open_pty(target_pty());
	else if (has_target() && !target_pty())
		listener = open_listener();
	if (job.mode == MODE_BULK && has_target())
		split();
	poller = epoll_create1(EPOLL_CLOEXEC);
	add_own(&listener);
	add_own(&partner);
	runs[job.mode]();
	if (job.is_staged)
		hold();
	return 0;
}
