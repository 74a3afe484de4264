{{/*
The spec: what the values say, and what the chart can fill in. Each part that cannot be filled in says what to set.
*/}}
{{- define "switchboard.spec" -}}
{{- $spec := deepCopy .Values.spec -}}
{{- $_ := set $spec "version" (include "switchboard.version" .) -}}
{{- include "switchboard.database" (list . $spec) -}}
{{- include "switchboard.redis" (list . $spec) -}}
{{- include "switchboard.carrier" (list . $spec) -}}
{{- include "switchboard.storage" (list . $spec) -}}
{{- $_ := set $spec "api" (set ($spec.api | default dict) "publicUrl" (include "switchboard.publicUrl" .)) -}}
{{- toYaml $spec -}}
{{- end -}}

{{/* Whether a part of the trial is there: "true" or nothing. Takes the root, and the part. */}}
{{- define "switchboard.trial" -}}
{{- $trial := (index . 0).Values.trial -}}
{{- if and $trial.enabled (get $trial (index . 1)).enabled -}}true{{- end -}}
{{- end -}}

{{- define "switchboard.trialSecretName" -}}
{{- .Values.trial.secretName | default (printf "%s-trial" (include "switchboard.name" .)) -}}
{{- end -}}

{{- define "switchboard.database" -}}
{{- $root := index . 0 -}}{{- $spec := index . 1 -}}
{{- $given := $root.Values.secrets.database -}}
{{- $database := $spec.database | default dict -}}
{{- $named := or $database.secretRef $database.migrationSecretRef -}}
{{- $trial := include "switchboard.trial" (list $root "postgresql") -}}
{{- if gt (len (compact (list (ternary "a" "" (not (empty $named))) (ternary "b" "" (or (not (empty $given.url)) (not (empty $given.ownerUrl)))) $trial))) 1 -}}
{{- fail "\n\ndatabase: set one of secrets.database, spec.database.secretRef and trial.postgresql, and leave the others out." -}}
{{- end -}}
{{- if $trial -}}
{{- $_ := set $database "secretRef" (dict "name" (include "switchboard.trialSecretName" $root) "key" "url") -}}
{{- $_ := set $database "migrationSecretRef" (dict "name" (include "switchboard.trialSecretName" $root) "key" "ownerUrl") -}}
{{- else if and $given.url $given.ownerUrl -}}
{{- $name := printf "%s-database" (include "switchboard.name" $root) -}}
{{- $_ := set $database "secretRef" (dict "name" $name "key" "url") -}}
{{- $_ := set $database "migrationSecretRef" (dict "name" $name "key" "ownerUrl") -}}
{{- else if not (and $database.secretRef $database.migrationSecretRef) -}}
{{- fail "\n\ndatabase: say where PostgreSQL is. Name a Secret in both spec.database.secretRef and spec.database.migrationSecretRef, or set both secrets.database.url and secrets.database.ownerUrl, or set trial.enabled to look around." -}}
{{- end -}}
{{- $_ := set $spec "database" $database -}}
{{- end -}}

{{- define "switchboard.redis" -}}
{{- $root := index . 0 -}}{{- $spec := index . 1 -}}
{{- $url := $root.Values.secrets.redis.url -}}
{{- $redis := $spec.redis | default dict -}}
{{- $trial := include "switchboard.trial" (list $root "valkey") -}}
{{- if gt (len (compact (list (ternary "a" "" (not (empty $redis.secretRef))) (ternary "b" "" (not (empty $url))) $trial))) 1 -}}
{{- fail "\n\nredis: set one of secrets.redis.url, spec.redis.secretRef and trial.valkey, and leave the others out." -}}
{{- end -}}
{{- if $trial -}}
{{- $_ := set $redis "secretRef" (dict "name" (include "switchboard.trialSecretName" $root) "key" "redisUrl") -}}
{{- else if $url -}}
{{- $_ := set $redis "secretRef" (dict "name" (printf "%s-redis" (include "switchboard.name" $root)) "key" "url") -}}
{{- else if not $redis.secretRef -}}
{{- fail "\n\nredis: say where Redis or Valkey is. Name a Secret in spec.redis.secretRef, or set secrets.redis.url, or set trial.enabled to look around." -}}
{{- end -}}
{{- $_ := set $spec "redis" $redis -}}
{{- end -}}

{{- define "switchboard.carrier" -}}
{{- $root := index . 0 -}}{{- $spec := index . 1 -}}
{{- $given := $root.Values.secrets.carrier -}}
{{- $carrier := $spec.carrier | default dict -}}
{{- $trial := include "switchboard.trial" (list $root "simulator") -}}
{{- if gt (len (compact (list (ternary "a" "" (not (empty $carrier.secretRef))) (ternary "b" "" (or (not (empty $given.accountSid)) (not (empty $given.authToken)))) $trial))) 1 -}}
{{- fail "\n\ncarrier: set one of secrets.carrier, spec.carrier.secretRef and trial.simulator, and leave the others out." -}}
{{- end -}}
{{- if $trial -}}
{{- $host := printf "%s-trial-simulator.%s.svc:8090" (include "switchboard.name" $root) $root.Release.Namespace -}}
{{- $_ := set $carrier "secretRef" (dict "name" (include "switchboard.trialSecretName" $root)) -}}
{{- $_ := set $carrier "baseUrl" (printf "http://%s" $host) -}}
{{- $_ := set $carrier "mediaHosts" (append ($carrier.mediaHosts | default list) $host) -}}
{{- $_ := set $carrier "callsPerSecond" ($carrier.callsPerSecond | default 25) -}}
{{- else if and $given.accountSid $given.authToken -}}
{{- $_ := set $carrier "secretRef" (dict "name" (printf "%s-carrier" (include "switchboard.name" $root))) -}}
{{- else if not $carrier.secretRef -}}
{{- fail "\n\ncarrier: say which account to call from. Name a Secret in spec.carrier.secretRef, or set both secrets.carrier.accountSid and secrets.carrier.authToken, or set trial.enabled for a simulated carrier." -}}
{{- end -}}
{{- $_ := set $spec "carrier" $carrier -}}
{{- end -}}

{{- define "switchboard.storage" -}}
{{- $root := index . 0 -}}{{- $spec := index . 1 -}}
{{- $given := $root.Values.secrets.storage -}}
{{- $storage := $spec.storage | default dict -}}
{{- if or $given.accessKeyId $given.secretAccessKey -}}
{{- if $storage.secretRef -}}
{{- fail "\n\nstorage: set one of secrets.storage and spec.storage.secretRef, and leave the other out." -}}
{{- end -}}
{{- if not (and $given.accessKeyId $given.secretAccessKey $storage.url) -}}
{{- fail "\n\nstorage: secrets.storage needs accessKeyId, secretAccessKey and spec.storage.url." -}}
{{- end -}}
{{- $_ := set $storage "secretRef" (dict "name" (printf "%s-storage" (include "switchboard.name" $root))) -}}
{{- end -}}
{{- if and $root.Values.trial.enabled (not $storage.url) (not (hasKey $storage "volume")) -}}
{{- /* One node only, which most clusters' default storage can do; and nothing that a trial leaves behind. */ -}}
{{- $_ := set $storage "volume" (dict "size" "1Gi" "accessModes" (list "ReadWriteOnce") "deleteWithResource" true) -}}
{{- end -}}
{{- if not (or $storage.url (hasKey $storage "volume")) -}}
{{- fail "\n\nstorage: say where recordings are kept. Set spec.storage.url (s3://bucket/prefix) or spec.storage.volume ({} makes a claim of 20Gi that many nodes can write)." -}}
{{- end -}}
{{- $_ := set $spec "storage" $storage -}}
{{- end -}}

{{- define "switchboard.publicUrl" -}}
{{- $url := (.Values.spec.api | default dict).publicUrl -}}
{{- if $url -}}
{{- $url -}}
{{- else if include "switchboard.trial" (list . "simulator") -}}
{{- /* The simulator calls back from inside the cluster. */ -}}
{{- include "switchboard.apiUrl" . -}}
{{- else if .Values.ingress.enabled -}}
{{- ternary "https" "http" (not (empty .Values.ingress.tlsSecret)) }}://{{ .Values.ingress.host -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
https://{{ first .Values.httpRoute.hostnames -}}
{{- else -}}
{{- fail "\n\napi: say how the carrier reaches the api. Set spec.api.publicUrl, or ingress.enabled with ingress.host, or httpRoute.enabled with httpRoute.hostnames." -}}
{{- end -}}
{{- end -}}
