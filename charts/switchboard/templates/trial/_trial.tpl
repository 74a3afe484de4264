{{/* Labels of a trial backend, and what selects it. They take the root, and the component. */}}
{{- define "trial.selectorLabels" -}}
app.kubernetes.io/name: switchboard-trial
app.kubernetes.io/instance: {{ include "switchboard.name" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "trial.labels" -}}
{{- $root := index . 0 -}}
{{ include "trial.selectorLabels" . }}
app.kubernetes.io/part-of: switchboard
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{- define "trial.name" -}}
{{- printf "%s-trial-%s" (include "switchboard.name" (index . 0)) (index . 1) -}}
{{- end -}}

{{/* Metadata of an object of a trial. */}}
{{- define "trial.metadata" -}}
name: {{ include "trial.name" . }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "trial.labels" . | nindent 2 }}
annotations:
  switchboard.dev/trial: Not for production. One pod, no backups, no TLS.
{{- end -}}

{{/* A Service. Takes the root, the component and the port. */}}
{{- define "trial.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "trial.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "trial.selectorLabels" . | nindent 4 }}
  ports:
    - {name: {{ index . 1 }}, port: {{ index . 2 }}, targetPort: {{ index . 1 }}, protocol: TCP}
{{- end -}}

{{/* A variable from the trial's Secret. Takes the root, the variable and the key. */}}
{{- define "trial.env" -}}
- name: {{ index . 1 }}
  valueFrom: {secretKeyRef: {name: {{ include "switchboard.trialSecretName" (index . 0) }}, key: {{ index . 2 }}}}
{{- end -}}
