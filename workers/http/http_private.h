/* Shared by http_server.c (accepting, time limits), http_conn.c (reading) and http_answer.c
 * (writing). */
#ifndef WORKERS_HTTP_HTTP_PRIVATE_H
#define WORKERS_HTTP_HTTP_PRIVATE_H

#include "base/buf.h"
#include "http/http_chunk.h"
#include "workers/http/http_server.h"

#define HTTP_IN_MAX HTTP_PIECE_MAX
#define HTTP_OUT_MAX (65u << 20)   /* bytes that wait for the client */
#define HTTP_OUT_FULL (192u << 10) /* ... from which on on_room is awaited */
#define HTTP_OUT_LOW (64u << 10)

/*
 *   HEAD ---> BODY ---> WAIT ---> (answer sent) ---> HEAD
 *     '---------(no body)--^
 *
 * `answered` may be set in BODY and in WAIT: the request is over for the service. */
enum http_state { HTTP_STATE_HEAD, HTTP_STATE_BODY, HTTP_STATE_WAIT };

struct http_conn {
    struct loop_watch watch;
    struct http_server *server;
    struct http_conn *prev, *next;
    struct http_peer peer;
    enum http_state state;
    uint32_t interest; /* what the loop watches for; 0: not in the loop */
    uint64_t due_ns;   /* monotonic: it is closed then; 0 = never */

    struct buf in; /* received and not used yet */
    char *text;    /* of the request's target */
    struct http_request request;
    bool keeps;   /* the connection stays after this request */
    bool expects; /* 100 Continue is to be sent before its body is read */
    bool counted; /* in arena->http_requests */
    bool served;  /* it has had a request */
    struct http_chunk chunk;
    uint64_t left; /* of a body with a length */
    void *app;     /* http_conn_state */
    unsigned kind;
    int status;        /* of its answer; 0: there is none yet */
    uint64_t asked_ns; /* monotonic: the head was whole */

    struct buf out;
    size_t out_at;   /* of it, this much is sent */
    bool pieces;     /* an answer in pieces is being sent */
    bool chunks;     /* ... in the chunked coding */
    bool answered;   /* the answer is complete, in `out` */
    bool wants_room; /* on_room was promised */
    bool held;       /* no body is read */
    bool eof;        /* the client sends no more */
    bool overran;    /* see http_conn_overran() */
    bool broken;     /* to be reset */
    bool dead;       /* to be freed */
    bool pumping;    /* http_conn_pump is running */
    bool kicked;     /* ... and will run in the next turn of the loop */
    bool sending;    /* `out` did not go out at once; due_ns is for it */
    /* The last byte of the request is still in the socket. As long as it is, the end of this
     * process, or of the connection, is ECONNRESET to the client: an answer that breaks off is
     * never taken for a whole one. */
    bool unread;
};

struct http_server {
    struct worker *w;
    const struct http_service *service;
    struct http_server_opts opts;
    struct loop_watch listener;
    bool listening;
    bool drains;
    uint64_t drain_ns; /* monotonic: when that began */
    struct loop_timer tick;
    struct loop_timer soon; /* pumps what was kicked */
    struct http_conn *first;
    unsigned n_conns, n_busy;
    char scratch[HTTP_SCRATCH];
};

/* http_conn.c: a new connection on this descriptor, which it owns. 0 or -errno: then the descriptor
 * is closed. */
must_use int http_conn_open(struct http_server *s, int fd);

/* Goes on with whatever is possible now; may free the connection. */
void http_conn_pump(struct http_conn *c);

/* The same in the next turn of the loop: for functions that the service calls, from wherever it
 * is. */
void http_conn_kick(struct http_conn *c);

/* Ends the connection: if a request is under way, its service is told. */
void http_conn_close(struct http_conn *c);

/* http_answer.c: sends what can be sent. 0; -errno: the client is gone. */
must_use int http_answer_flush(struct http_conn *c);

/* 100 Continue. 0 or -ENOMEM. */
must_use int http_answer_continue(struct http_conn *c);

/* A refusal by the server itself, behind which the connection is closed. */
void http_answer_refuse(struct http_conn *c, int status, const char *code, const char *message);

/* http_server.c: one more, one less. */
void http_server_added(struct http_server *s, struct http_conn *c);
void http_server_removed(struct http_server *s, struct http_conn *c);

#endif
