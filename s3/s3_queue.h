/* The client's lists of requests: `queue` waits for a connection, `busy` has the others. */
#ifndef S3_S3_QUEUE_H
#define S3_S3_QUEUE_H

struct s3_client;
struct s3_req;
struct s3_req_list;

/* Appends the request; removes it. A request is in one list at a time. */
void s3_list_push(struct s3_req_list *list, struct s3_req *req);
void s3_list_drop(struct s3_req_list *list, struct s3_req *req);

/* The client processes its queue in the next turn of the loop. */
void s3_client_kick(struct s3_client *c);

#endif
