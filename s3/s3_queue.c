/* The client's lists of requests, and the turn of the loop in which the queue is looked at. */
#include "s3/s3_queue.h"

#include "s3/s3_client.h"
#include "s3/s3_request.h"

void s3_list_push(struct s3_req_list *list, struct s3_req *req)
{
    req->prev = list->last;
    req->next = NULL;
    *(list->last ? &list->last->next : &list->first) = req;
    list->last = req;
}

void s3_list_drop(struct s3_req_list *list, struct s3_req *req)
{
    *(req->prev ? &req->prev->next : &list->first) = req->next;
    *(req->next ? &req->next->prev : &list->last) = req->prev;
    req->prev = req->next = NULL;
}

void s3_client_kick(struct s3_client *c)
{
    if (!c->kick.armed)
        loop_timer_set(c->loop, &c->kick, 0);
}
