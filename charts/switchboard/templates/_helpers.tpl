{{/* Name of the Switchboard; the CRD's own rule, told before anything is sent. */}}
{{- define "switchboard.name" -}}
{{- $name := .Values.name | default .Release.Name -}}
{{- if or (gt (len $name) 30) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "\n\nname: %q cannot be the name of a Switchboard. Set it to at most 30 lower-case letters, digits and hyphens, a letter first." $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "switchboard.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ include "switchboard.name" . }}
{{- end -}}

{{/*
Labels of an object. The operator finds what is its own by managed-by, so nothing of the chart is taken for it.
Takes the root, and the component.
*/}}
{{- define "switchboard.labels" -}}
{{- $root := index . 0 -}}
{{ include "switchboard.selectorLabels" $root }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/part-of: switchboard
{{- /* A tag may be longer than a label, and end in what a label may not. */}}
app.kubernetes.io/version: {{ include "switchboard.version" $root | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{- define "switchboard.version" -}}
{{- .Values.spec.version | default .Chart.AppVersion -}}
{{- end -}}

{{/* An image of this release. Takes the root, and the image. */}}
{{- define "switchboard.image" -}}
{{- $root := index . 0 -}}
{{- $images := $root.Values.spec.images | default dict -}}
{{- $own := get $images (index . 1) -}}
{{- $own | default (printf "%s-%s:%s" ($images.repository | default "switchboard") (index . 1) (include "switchboard.version" $root)) -}}
{{- end -}}

{{/* What pods of the chart have in common: pull secrets, Pod Security restricted. */}}
{{- define "switchboard.podDefaults" -}}
{{- $images := .Values.spec.images | default dict -}}
enableServiceLinks: false
{{- with $images.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "switchboard.containerDefaults" -}}
{{- $images := .Values.spec.images | default dict -}}
imagePullPolicy: {{ $images.pullPolicy | default "IfNotPresent" }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/* How the api is reached inside the cluster; the Service is the operator's. */}}
{{- define "switchboard.apiUrl" -}}
http://{{ include "switchboard.name" . }}-api.{{ .Release.Namespace }}.svc
{{- end -}}
