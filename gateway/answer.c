/* SPDX-License-Identifier: MIT */
#include "answer.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "loop.h"

struct answer {
	struct dial dial;
	struct loop *loop;
	struct loop_task task;
	struct stream *stream;
	int code;
	struct error error;
	dial_done_cb done;
	void *arg;
};

static void answer_give(void *arg)
{
	struct answer *answer = arg;

	answer->done(answer->stream, answer->code, &answer->error, answer->arg);
	free(answer);
}

static void answer_cancel(struct dial *dial)
{
	struct answer *answer = (struct answer *)dial;

	loop_cancel(answer->loop, &answer->task);
	stream_close(answer->stream, STREAM_CLOSE_ABORT);
	free(answer);
}

struct dial *answer_new(struct loop *loop, struct stream *stream, int code,
			const struct error *error, dial_done_cb done, void *arg)
{
	static const struct dial_ops ops = {.cancel = answer_cancel};
	struct answer *answer = calloc(1, sizeof(*answer));

	if (!answer) {
		stream_close(stream, STREAM_CLOSE_ABORT);
		errno = ENOMEM;
		return NULL;
	}
	answer->dial.ops = &ops;
	answer->loop = loop;
	answer->stream = stream;
	if (!stream) {
		answer->code = code;
		answer->error = *error;
	}
	answer->task.run = answer_give;
	answer->task.arg = answer;
	answer->done = done;
	answer->arg = arg;
	loop_defer(loop, &answer->task);
	return &answer->dial;
}
