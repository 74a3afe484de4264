{{/*
Everything that the operator may do in a namespace that it watches, and nothing more: each line is a call in its code.
It may not read logs, change pods, Nodes or Roles, or change and delete Secrets.
*/}}
{{- define "operator.namespacedRules" -}}
- apiGroups: [switchboard.dev]
  resources: [switchboards]
  verbs: [get, list, watch]
- apiGroups: [switchboard.dev]
  resources: [switchboards/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, serviceaccounts, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects, triggerauthentications]
  verbs: [get, list, watch, create, patch, delete]
# It reads the Secrets that a Switchboard names, and makes the internal token and the sealing keys.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/*
What kopf reads to notice kinds that come and go, KEDA's say. An operator of named namespaces does without: it looks for
kinds when it starts, so it has no right outside of these namespaces.
*/}}
{{- define "operator.clusterRules" -}}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
{{- end -}}
