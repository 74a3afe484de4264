// Generated from docs/openapi.json: `make generated` writes it.

export interface paths {
    "/api/business": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["BusinessOut"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/leads/count": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["LeadCountOrder"];
                };
            };
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["LeadCount"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/outbound_calls/jobs/{job_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: {
                    "Idempotency-Key"?: string | null;
                };
                path: {
                    job_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["RunView"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/outbound_calls/jobs/{job_id}/force-cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    job_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ForceCancelReport"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/outbound_calls/runs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: {
                    cursor?: string | null;
                    limit?: number;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Page_RunView_"];
                    };
                };
            };
        };
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: {
                    "Idempotency-Key"?: string | null;
                };
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["RunCreate"];
                };
            };
            responses: {
                201: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["RunView"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/outbound_calls/runs/{run_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    run_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["RunView"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/outbound_calls/runs/{run_id}/pause": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: {
                    "Idempotency-Key"?: string | null;
                };
                path: {
                    run_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["RunView"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/outbound_calls/runs/{run_id}/resume": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: {
                    "Idempotency-Key"?: string | null;
                };
                path: {
                    run_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["RunView"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/tasks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: {
                    cursor?: string | null;
                    job_type?: string | null;
                    limit?: number;
                    status?: components["schemas"]["JobStatus"] | null;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Page_TaskSnapshot_"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/tasks/{task_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    task_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskSnapshot"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/tasks/{task_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: {
                    "Idempotency-Key"?: string | null;
                };
                path: {
                    task_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskSnapshot"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/tasks/{task_id}/ticket": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    task_id: number;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                201: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["Ticket"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        BusinessOut: {
            call_cap: number;
            caller_ids: string[];
            calling_days: components["schemas"]["Weekday"][];
            calling_from: string;
            calling_until: string;
            calls_per_second: number;
            /** Format: date-time */
            created_at: string;
            id: number;
            name: string;
            timezone: string;
        };
        CallingHours: {
            /**
             * Format: time
             * @default 20:00:00
             */
            closes?: string;
            /**
             * @default [
             *       "mon",
             *       "tue",
             *       "wed",
             *       "thu",
             *       "fri",
             *       "sat",
             *       "sun"
             *     ]
             */
            days?: ("mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun")[];
            /**
             * Format: time
             * @default 09:00:00
             */
            opens?: string;
        };
        ForceCancelReport: {
            canceled: number;
            hung_up: number;
            job_id: number;
            pending: number;
            run_id: number;
        };
        /** @enum {string} */
        JobStatus: "pending" | "running" | "completed" | "failed" | "cancelled";
        LeadCount: {
            count: number;
            examples: components["schemas"]["LeadOut"][];
        };
        LeadCountOrder: {
            created_by_import?: number | null;
            filter?: components["schemas"]["LeadFilter"] | null;
        };
        LeadFilter: {
            /** @default false */
            all?: boolean;
            do_not_call?: boolean | null;
            ids?: number[] | null;
            import_id?: number | null;
            tags?: string[] | null;
            timezone?: string | null;
        };
        LeadOut: {
            attributes: {
                [key: string]: unknown;
            };
            /** Format: date-time */
            created_at: string;
            do_not_call: boolean;
            email: string | null;
            id: number;
            import_id: number | null;
            name: string | null;
            phone: string;
            tags: string[];
            timezone: string;
            /** Format: date-time */
            updated_at: string;
        };
        Page_RunView_: {
            items: components["schemas"]["RunView"][];
            next_cursor?: string | null;
        };
        Page_TaskSnapshot_: {
            items: components["schemas"]["TaskSnapshot"][];
            next_cursor?: string | null;
        };
        Problem: {
            detail: string;
            error_id?: string;
            errors?: {
                field?: string;
                message?: string;
            }[];
            status: number;
            title: string;
            type: string;
        } & {
            [key: string]: unknown;
        };
        RunCounts: {
            active: number;
            busy: number;
            canceled: number;
            canceling: number;
            completed: number;
            dialing: number;
            failed: number;
            in_progress: number;
            no_answer: number;
            queued: number;
            ringing: number;
            skipped: number;
            total: number;
            uncertain: number;
        };
        RunCreate: {
            /** @default [] */
            caller_ids?: string[];
            calling_hours?: components["schemas"]["CallingHours"] | null;
            leads: components["schemas"]["LeadFilter"];
            /**
             * @default off
             * @enum {string}
             */
            machine_detection?: "off" | "detect" | "hangup";
            /** @default 3 */
            max_attempts?: number;
            message: string;
            name: string;
            /** @default true */
            record?: boolean;
            retry_after_s?: {
                [key: string]: number;
            };
            /** @default 30 */
            ring_timeout_s?: number;
        };
        /** @enum {string} */
        RunStatus: "pending" | "running" | "paused" | "completed" | "failed" | "cancelled";
        RunView: {
            counts: components["schemas"]["RunCounts"];
            /** Format: date-time */
            created_at: string;
            finished_at: string | null;
            id: number;
            job_id: number | null;
            name: string;
            next_call_at?: string | null;
            reason: string | null;
            started_at: string | null;
            status: components["schemas"]["RunStatus"];
            waiting_for?: string | null;
        };
        TaskError: {
            item: string;
            message: string;
        };
        TaskSnapshot: {
            /** @default false */
            cancel_requested?: boolean;
            /** Format: date-time */
            created_at: string;
            done: number;
            errors: components["schemas"]["TaskError"][];
            failed: number;
            finished_at?: string | null;
            id: number;
            job_type: string;
            queue: string;
            reason?: string | null;
            result?: {
                [key: string]: unknown;
            } | null;
            started_at?: string | null;
            status: components["schemas"]["JobStatus"];
            total: number | null;
            version: number;
        };
        Ticket: {
            expires_in_s: number;
            ticket: string;
            url: string;
        };
        /** @enum {string} */
        Weekday: "mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun";
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
