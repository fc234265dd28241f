{{/* Names. Volumes and addresses carry them: they never change. */}}
{{- define "quipu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "quipu.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "quipu.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "quipu.headless" -}}
{{- include "quipu.fullname" . }}-headless
{{- end -}}

{{- define "quipu.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "quipu.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "quipu.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What selects the nodes: immutable in a StatefulSet, so nothing of a version is in it. */}}
{{- define "quipu.selector" -}}
app.kubernetes.io/name: {{ include "quipu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{/* Labels of an object: (list context component). */}}
{{- define "quipu.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "quipu.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: quipu
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Ordinals begin at 1, so that pod n is node n. (list context ordinal) */}}
{{- define "quipu.nodeId" -}}
{{- $root := index . 0 -}}
{{- $ordinal := index . 1 | toString -}}
{{- get $root.Values.nodeIds $ordinal | default $ordinal | int64 -}}
{{- end -}}

{{- define "quipu.podName" -}}
{{- printf "%s-%d" (include "quipu.fullname" (index . 0)) (index . 1 | int) -}}
{{- end -}}

{{- define "quipu.podHost" -}}
{{- $root := index . 0 -}}
{{- printf "%s.%s.%s.svc.%s" (include "quipu.podName" .) (include "quipu.headless" $root) $root.Release.Namespace $root.Values.clusterDomain -}}
{{- end -}}

{{/* The service clients begin with. */}}
{{- define "quipu.servers" -}}
{{- printf "%s.%s.svc.%s:%d" (include "quipu.fullname" .) .Release.Namespace .Values.clusterDomain (int .Values.listeners.client.port) -}}
{{- end -}}

{{/* Where commands of ours begin: pods that stay, by name. */}}
{{- define "quipu.podServers" -}}
{{- $root := . -}}
{{- $addresses := list -}}
{{- range $ordinal := untilStep 1 (int (add1 (min 5 .Values.replicas))) 1 -}}
{{- $addresses = append $addresses (printf "%s:%d" (include "quipu.podHost" (list $root $ordinal)) (int $root.Values.listeners.client.port)) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}

{{/* ip:port, with brackets around IPv6. (list context port) */}}
{{- define "quipu.bind" -}}
{{- $address := (index . 0).Values.listeners.bindAddress -}}
{{- if contains ":" $address -}}
{{- printf "[%s]:%d" $address (index . 1 | int) -}}
{{- else -}}
{{- printf "%s:%d" $address (index . 1 | int) -}}
{{- end -}}
{{- end -}}

{{/* A setting's value as TOML text: the node parses durations, sizes and numbers from text alike. */}}
{{- define "quipu.toml" -}}
{{- if kindIs "float64" . -}}
{{- . | int64 | toString | quote -}}
{{- else -}}
{{- . | toString | quote -}}
{{- end -}}
{{- end -}}

{{/* What every node has of the settings given, by section. */}}
{{- define "quipu.sections" -}}
{{- range $section, $keys := .Values.config }}
{{- if not (has $section (list "node" "cluster" "listeners")) }}

[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "quipu.toml" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The configuration file of a pod: (list context ordinal). */}}
{{- define "quipu.config" -}}
{{- $root := index . 0 -}}
{{- $ordinal := index . 1 | int -}}
{{- $values := $root.Values -}}
{{- $peer := $values.listeners.peer.port | int -}}
[node]
id = {{ include "quipu.nodeId" . }}
# A folder of the volume: its root has what the file system puts there.
data-dir = "/var/lib/quipu/data"
{{- with get $values.rack.byOrdinal ($ordinal | toString) }}
rack = {{ . | quote }}
{{- end }}
{{- range $key, $value := $values.config.node }}
{{ $key }} = {{ include "quipu.toml" $value }}
{{- end }}

[cluster]
bootstrap = [
{{- range $other := untilStep 1 (int (add1 $values.replicas)) 1 }}
  "{{ include "quipu.nodeId" (list $root $other) }}@{{ include "quipu.podHost" (list $root $other) }}:{{ $peer }}",
{{- end }}
]
{{- range $key, $value := $values.config.cluster }}
{{ $key }} = {{ include "quipu.toml" $value }}
{{- end }}

[listeners]
client = "{{ include "quipu.bind" (list $root $values.listeners.client.port) }}"
{{- if $values.external.enabled }}
client-advertise = "{{ index $values.external.addresses (sub $ordinal 1 | int) }}"
{{- else }}
client-advertise = "{{ include "quipu.podHost" . }}:{{ int $values.listeners.client.port }}"
{{- end }}
peer = "{{ include "quipu.bind" (list $root $values.listeners.peer.port) }}"
metrics = "{{ include "quipu.bind" (list $root $values.listeners.metrics.port) }}"
{{- include "quipu.sections" $root }}
{{ end -}}

{{/* Changes with what makes a restart worth it. The list of nodes does not: a member needs it no more. */}}
{{- define "quipu.configChecksum" -}}
{{- $values := .Values -}}
{{- list $values.config $values.listeners $values.external.enabled $values.external.addresses $values.rack.byOrdinal | toJson | sha256sum -}}
{{- end -}}

{{/* A pod that runs one command of ours against the cluster: (dict "root" "name" "args" "mounts"). */}}
{{- define "quipu.commandContainer" -}}
- name: {{ .name }}
  image: {{ include "quipu.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/usr/bin/quipu]
  args: {{ toJson .args }}
  env:
    - name: QUIPU_SERVERS
      value: {{ include "quipu.podServers" .root }}
    - name: HOME
      value: /tmp
  securityContext:
    {{- toYaml .root.Values.securityContext | nindent 4 }}
  resources:
    requests:
      cpu: 10m
      memory: 32Mi
    limits:
      memory: 128Mi
  {{- with .mounts }}
  volumeMounts:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* What every pod of ours has in common, besides containers and volumes. */}}
{{- define "quipu.podCommon" -}}
serviceAccountName: {{ include "quipu.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
