/* SPDX-License-Identifier: MIT */
#include "tcp_peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PROBES 3
/*
 * Unanswered repetitions without which a silence is none: one may just be on
 * its way, and a peer whose window is closed is asked every two minutes only.
 */
#define REPEATS_MIN 2

static unsigned int probe_interval_s(unsigned int keepalive_s)
{
	return keepalive_s > PROBES ? keepalive_s / PROBES : 1;
}

static void set_keepalive(int fd, unsigned int keepalive_s)
{
	const int on = 1, probes = PROBES;
	const int interval = (int)probe_interval_s(keepalive_s);
	const int idle = (int)keepalive_s;

	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* What was sent and not answered, or cannot even be sent. */
static bool is_underway(const struct tcp_peer *peer)
{
	int bytes = 0;

	return ioctl(peer->fd, TIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* How long it has not answered to what is repeated; 0: it may yet. */
static unsigned int silent_ms(const struct tcp_peer *peer)
{
	struct tcp_info info = {0};
	socklen_t bytes = sizeof(info);

	if (getsockopt(peer->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) ||
	    (info.tcpi_retransmits < REPEATS_MIN &&
	     info.tcpi_probes < REPEATS_MIN))
		return 0;
	return info.tcpi_last_ack_recv;
}

static void tcp_peer_look(struct loop_alarm *alarm)
{
	struct tcp_peer *peer = (struct tcp_peer *)alarm; /* its first */
	unsigned int silent;

	if (!is_underway(peer))
		return;
	silent = silent_ms(peer);
	if (silent >= peer->limit_ms) {
		peer->is_gone = true;
		shutdown(peer->fd, SHUT_RDWR);
		return;
	}
	/*
	 * What is silent by now, or begins to be, is by then for long enough.
	 * Without memory the kernel's quarter of an hour has to do.
	 */
	loop_set_alarm(peer->loop, alarm, peer->limit_ms - silent);
}

void tcp_peer_init(struct tcp_peer *peer, struct loop *loop, int fd,
		   unsigned int keepalive_s)
{
	*peer = (struct tcp_peer){
		.loop = loop,
		.fd = fd,
		.alarm.run = tcp_peer_look,
	};
	if (!keepalive_s)
		return;
	peer->limit_ms = 1000 *
			 (keepalive_s + PROBES * probe_interval_s(keepalive_s));
	set_keepalive(fd, keepalive_s);
}

void tcp_peer_clear(struct tcp_peer *peer)
{
	loop_unset_alarm(peer->loop, &peer->alarm);
}

void tcp_peer_sent(struct tcp_peer *peer)
{
	if (!loop_alarm_is_set(&peer->alarm) && peer->limit_ms)
		loop_set_alarm(peer->loop, &peer->alarm, peer->limit_ms);
}

bool tcp_peer_is_gone(const struct tcp_peer *peer)
{
	return peer->is_gone;
}
